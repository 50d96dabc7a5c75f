"""When a holder counts as gone, judged without anybody's wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass


@dataclass
class _Seen:
    version: Hashable
    since: float
    last: float


class LeaseWatch:
    """Tells which documents have stood still for a whole lease of *this* observer's monotonic clock.

    A holder rewrites its document at each heartbeat, so a new version is a sign of life. An observer that did not look
    for longer than a lease (it was stopped, or the cluster did not answer, in which case the holder could not beat
    either) starts its count again: a lease is only ever seen to expire, never inferred.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`lease` in seconds of `clock`."""
        self.lease = lease
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def observe(self, id: str, version: Hashable) -> bool:
        """True when `id` has stood at `version` for the whole lease. Call it at least once in each lease."""
        now = self._clock()
        seen = self._seen.get(id)
        if seen is None or seen.version != version or now - seen.last > self.lease:
            self._seen[id] = _Seen(version, now, now)
            return False
        seen.last = now
        return now - seen.since >= self.lease

    def forget(self, id: str) -> None:
        """Drop what is known of `id`."""
        self._seen.pop(id, None)

    def retain(self, ids: Collection[str]) -> None:
        """Drop everything but `ids`: what is no longer there needs no watching."""
        kept = set(ids)
        self._seen = {id_: seen for id_, seen in self._seen.items() if id_ in kept}

    def __len__(self) -> int:
        return len(self._seen)
