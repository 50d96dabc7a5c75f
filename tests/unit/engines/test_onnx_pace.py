"""Which session a lone text runs on."""

from __future__ import annotations

from bridge.engines.onnx import Pace


def run(pace: Pace, several: float, single: float, runs: int) -> list[bool]:
    chosen = []
    for _ in range(runs):
        choice = pace.choose()
        pace.note(choice, several if choice else single, 10)
        chosen.append(choice)
    return chosen


def test_both_are_tried_and_the_faster_is_kept():
    assert run(Pace(), 3.0, 5.0, 15) == [True, False] + [True] * 13
    assert run(Pace(), 9.0, 5.0, 15) == [True, False] + [False] * 13


def test_it_changes_its_mind_when_the_machine_does():
    pace = Pace()
    assert run(pace, 3.0, 5.0, 100).count(True) > 90
    later = run(pace, 9.0, 5.0, 100)
    assert not any(later[20:27])
    assert run(pace, 3.0, 5.0, 400)[-8:].count(True) >= 7


def test_time_counts_by_the_token():
    pace = Pace()
    pace.note(True, 10.0, 100)
    pace.note(False, 5.0, 10)
    assert pace.choose() is True
