"""Counts what the front does; plain integers while serving, handed to the metrics registry once a second."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Sink(Protocol):
    """Where counts end up (`bridge.metrics` in a real process)."""

    def requests(self, lane: str, status: str, number: int) -> None: ...
    def added(self, lane: str, seconds: float) -> None: ...
    def connections(self, number: int) -> None: ...
    def upstream_errors(self, cause: str, number: int) -> None: ...


class Counts:
    """`added` keeps one latency in `sample`: a histogram needs no more, and observing costs more than forwarding."""

    def __init__(self, sink: Sink | None = None, *, sample: int = 16) -> None:
        self._sink = sink
        self._sample = sample
        self._tick = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._errors: Counter[str] = Counter()
        self._added: list[tuple[str, float]] = []
        self.connections = 0

    def finished(self, lane: str, status: int) -> None:
        self._requests[lane, status // 100] += 1

    def failed(self, cause: str) -> None:
        self._errors[cause] += 1

    def sampled(self) -> bool:
        """Whether the next request's latency is to be taken."""
        self._tick += 1
        return self._tick % self._sample == 0

    def added(self, lane: str, seconds: float) -> None:
        if len(self._added) < 10_000:
            self._added.append((lane, seconds))

    def flush(self) -> None:
        """Hand everything over and start from zero."""
        requests, errors, added = self._requests, self._errors, self._added
        self._requests, self._errors, self._added = Counter(), Counter(), []
        if self._sink is None:
            return
        for (lane, family), number in requests.items():
            self._sink.requests(lane, f"{family}xx", number)
        for cause, number in errors.items():
            self._sink.upstream_errors(cause, number)
        for lane, seconds in added:
            self._sink.added(lane, seconds)
        self._sink.connections(self.connections)
