"""Rooms: many beside each other or one alone, and nobody left waiting."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.tasks.room import Room


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans()), max_size=12))
def test_one_alone_meets_nobody(guests: list[tuple[bool, int, bool]]) -> None:
    async def party() -> None:
        room, inside, stayed = Room(), [], []

        async def visit(alone: bool, turns: int) -> None:
            async with room.enter(alone=alone):
                inside.append(alone)
                try:
                    assert len(inside) == 1 or not any(inside)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    inside.remove(alone)
                stayed.append(alone)

        visits = [asyncio.create_task(visit(alone, turns)) for alone, turns, _ in guests]
        await asyncio.sleep(0)
        for task, (_, _, leaves) in zip(visits, guests, strict=True):
            if leaves:
                task.cancel()
        async with asyncio.timeout(5):
            ended = await asyncio.gather(*visits, return_exceptions=True)
            await visit(True, 1)
        assert not [error for error in ended if error is not None and not isinstance(error, asyncio.CancelledError)]
        assert len(stayed) >= 1 + sum(not leaves for _, _, leaves in guests)

    asyncio.run(party())
