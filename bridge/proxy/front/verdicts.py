"""What the application said about indices: until when writes to one, or searches of it, concern nothing of ours."""

from __future__ import annotations

from collections.abc import Callable


class Verdicts:
    """A bounded cache of index name -> until (seconds of `clock`), emptied when the lane table's version moves."""

    def __init__(self, clock: Callable[[], float], *, capacity: int = 10_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._until: dict[str, float] = {}
        self._version = -1

    def clear(self, index: str, version: int) -> bool:
        """Whether what goes to `index` is known to concern nothing of ours, under table `version`."""
        if version != self._version:
            self._until.clear()
            self._version = version
        until = self._until.get(index)
        return until is not None and until > self._clock()

    def knows(self, index: str) -> bool:
        """Whether there was a verdict under the table of the last `clear`, be it out of date."""
        return index in self._until

    def learn(self, index: str, seconds: float, version: int) -> None:
        """Remember a verdict that was asked for under table `version`; an older one is not believed."""
        if version != self._version or not seconds > 0:
            return
        if len(self._until) >= self._capacity:
            self._drop()
        self._until[index] = self._clock() + min(seconds, 3600.0)

    def __len__(self) -> int:
        return len(self._until)

    def _drop(self) -> None:
        now = self._clock()
        fresh = {name: until for name, until in self._until.items() if until > now}
        # All fresh: half go, oldest first, so that a full cache is not rebuilt on every insert.
        self._until = fresh if len(fresh) < self._capacity else dict(list(fresh.items())[self._capacity // 2 :])
