"""Keeps requests away from an origin that does not answer, and lets one through from time to time to see."""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row; while open, one probe is allowed every `open_for` seconds."""

    __slots__ = ("_clock", "_failures", "_limit", "_next_probe", "_open_for")

    def __init__(self, failures: int, open_for: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._open_for = open_for
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._limit

    def allows(self) -> bool:
        """Whether a request may go now; an probe is counted by the clock: one that never ends blocks none."""
        if self._failures < self._limit:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._open_for
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        if self._failures == self._limit:
            self._next_probe = self._clock() + self._open_for
