"""A rate: so many calls in a time, a full bucket of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

UNIT_SECONDS: Mapping[str, float] = {
    "NANOSECONDS": 1e-9,
    "MICROSECONDS": 1e-6,
    "MILLISECONDS": 1e-3,
    "SECONDS": 1.0,
    "MINUTES": 60.0,
    "HOURS": 3600.0,
    "DAYS": 86_400.0,
}
"""The constants of java.util.concurrent.TimeUnit, which a rate limiter names."""

LONGEST_WAIT = 86_400


@dataclass(frozen=True)
class Rate:
    """What one node may let through: `per_second` calls on average, `burst` at once, never less than one."""

    per_second: float
    burst: float


def rate_of(limiter: Mapping[str, Any] | None, nodes: int) -> Rate | None:
    """The share of one of `nodes` nodes in a limiter `{"limit", "unit"}`; None where it limits nothing.

    A limiter without both fields is none (ML Commons' rule), as is one that cannot be read.
    """
    if not limiter or limiter.get("limit") is None or limiter.get("unit") not in UNIT_SECONDS:
        return None
    try:
        limit = float(limiter["limit"])
    except (TypeError, ValueError):
        return None
    if not math.isfinite(limit) or limit < 0:
        return None
    share = limit / max(1, nodes)
    return Rate(share / UNIT_SECONDS[str(limiter["unit"])], max(share, 1.0))


class TokenBucket:
    """Filled at `rate`, full at the start; `clock` is in seconds."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = rate.burst
        self._at = clock()

    def change(self, rate: Rate) -> None:
        """From now on another rate; what is in the bucket stays, as far as it fits."""
        self._fill()
        self.rate = rate
        self._tokens = min(self._tokens, rate.burst)

    def take(self) -> bool:
        """Take one token; False when there is none."""
        self._fill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait(self) -> int:
        """Whole seconds until the next token, at least one and at most a day."""
        self._fill()
        missing = 1.0 - self._tokens
        if missing <= 0:
            return 1
        if self.rate.per_second * LONGEST_WAIT <= missing:
            return LONGEST_WAIT
        return max(1, math.ceil(missing / self.rate.per_second))

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self.rate.burst, self._tokens + max(0.0, now - self._at) * self.rate.per_second)
        self._at = now
