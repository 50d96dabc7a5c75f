"""Rooms: many beside each other or one alone, and nobody who waits with a claim in hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.tasks.room import Room


@given(st.lists(st.sampled_from(["enter", "alone", "leave"]), max_size=40))
def test_one_alone_meets_nobody(steps: list[str]) -> None:
    room, inside = Room(), []
    for step in steps:
        if step == "leave":
            if inside:
                inside.pop(0)
                room.leave()
            continue
        alone = step == "alone"
        let_in = room.enter(alone=alone)
        assert let_in == (not any(inside) and not (alone and inside))
        if let_in:
            inside.append(alone)
        assert len(inside) == 1 or not any(inside)
        assert room.places(5) == 0 or not any(inside)


def test_who_wants_to_be_alone_finds_the_room_empty_in_the_end() -> None:
    room = Room()
    assert room.enter(alone=False)
    assert room.places(4) == 4
    assert not room.enter(alone=True)
    assert room.places(4) == 0
    room.leave()
    assert room.places(4) == 1
    assert room.enter(alone=True)
    assert room.places(4) == 0
    room.leave()
    assert room.places(4) == 4


def test_a_lone_one_that_went_elsewhere_blocks_nobody() -> None:
    room = Room()
    assert room.enter(alone=False)
    assert not room.enter(alone=True)
    room.leave()
    # Another worker took it: what comes next comes alone, and then all is as before.
    assert room.enter(alone=False)
    assert room.places(4) == 4
