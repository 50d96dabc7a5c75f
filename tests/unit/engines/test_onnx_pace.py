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
    for several, single, best in ((3.0, 5.0, True), (9.0, 5.0, False)):
        chosen = run(Pace(), several, single, 46)
        assert chosen[:6] == [True, False] * 3
        assert chosen[6:].count(best) == 35


def test_it_changes_its_mind_when_the_machine_does():
    pace = Pace()
    run(pace, 3.0, 5.0, 100)
    later = run(pace, 9.0, 5.0, 100)
    assert later[40:].count(False) > 50
    assert run(pace, 3.0, 5.0, 100)[40:].count(True) > 50


def test_one_slow_run_changes_nothing():
    pace = Pace()
    run(pace, 3.0, 5.0, 40)
    pace.note(True, 500.0, 10)
    assert run(pace, 3.0, 5.0, 6).count(True) >= 5


def test_time_counts_by_the_token():
    pace = Pace()
    for _ in range(3):
        pace.note(True, 10.0, 100)
        pace.note(False, 5.0, 10)
    assert pace.choose() is True
