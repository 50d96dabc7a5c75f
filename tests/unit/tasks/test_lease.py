"""Leases: expired exactly when an observer saw one version for the whole lease, with no gap in its looking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.tasks.lease import LeaseWatch

LEASE = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_expires_after_a_whole_lease_at_one_version() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    seen = []
    for clock.now in (0.0, 5.0, 9.9, 10.0):
        seen.append(watch.observe("a", 1))
    assert seen == [False, False, False, True]


def test_a_new_version_starts_again() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    watch.observe("a", 1)
    clock.now = 9.0
    assert not watch.observe("a", 2)
    clock.now = 18.0
    assert not watch.observe("a", 2)
    clock.now = 19.0
    assert watch.observe("a", 2)


def test_an_observer_that_slept_starts_again() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    watch.observe("a", 1)
    clock.now = 500.0
    assert not watch.observe("a", 1)
    clock.now = 505.0
    assert not watch.observe("a", 1)
    clock.now = 510.0
    assert watch.observe("a", 1)


def test_what_is_forgotten_starts_again() -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    for id_ in ("a", "b", "c"):
        watch.observe(id_, 1)
    watch.forget("a")
    watch.retain(["a", "b"])
    assert len(watch) == 1
    clock.now = 5.0
    for id_ in ("a", "b", "c"):
        watch.observe(id_, 1)
    clock.now = 10.0
    assert [watch.observe(id_, 1) for id_ in ("a", "b", "c")] == [False, True, False]


@given(st.lists(st.tuples(st.floats(0.0, 15.0), st.integers(0, 2)), max_size=40))
def test_agrees_with_the_whole_history(history: list[tuple[float, int]]) -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    looks: list[tuple[float, int]] = []
    for step, version in history:
        clock.now += step
        looks.append((clock.now, version))
        # Backwards from now: how long has this version been seen without a gap longer than a lease?
        since = clock.now
        for time, seen in reversed(looks):
            if seen != version or since - time > LEASE:
                break
            since = time
        assert watch.observe("a", version) == (clock.now - since >= LEASE)


@given(st.lists(st.floats(0.0, 3.3), min_size=1, max_size=60), st.floats(0.0, 3.3))
def test_a_holder_that_beats_is_never_seen_to_expire(looks: list[float], phase: float) -> None:
    clock = Clock()
    watch = LeaseWatch(LEASE, clock)
    for step in looks:
        clock.now += step
        assert not watch.observe("a", int((clock.now + phase) / (LEASE / 3)))
