"""Who counts as alive, and who is in no position to judge."""

from __future__ import annotations

import pytest

from bridge.domain.node import Node
from bridge.errors import ClusterUnavailable
from bridge.models.node import LiveNodes, NodePulse
from bridge.store.in_memory import InMemoryDocuments


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Refusing(InMemoryDocuments[Node]):
    """Takes no writes while `refuses`, as a cluster with a full disk."""

    refuses = False

    async def put(self, id: str, value: Node, *, refresh: bool = False):  # type: ignore[no-untyped-def]
        if self.refuses:
            raise ClusterUnavailable("index has read-only-allow-delete block")
        return await super().put(id, value, refresh=refresh)


async def test_silence_counts_only_for_who_can_speak() -> None:
    documents, clock = Refusing(Node), Clock()
    mine = NodePulse("mine", Node(name="mine"), documents)
    other = NodePulse("other", Node(name="other"), documents)
    live = LiveNodes(documents, own=mine, lease=12.0, clock=clock)

    async def later(seconds: float, *beating: NodePulse) -> set[str]:
        for _ in range(int(seconds / 4)):
            clock.now += 4
            for pulse in beating:
                try:
                    await pulse.beat()
                except ClusterUnavailable:
                    assert pulse.trouble
            await live.fresh()
        return set(live.known)

    assert await later(20, mine, other) == {"mine", "other"}
    documents.refuses = True
    # Nobody's document moves any more, and nobody has died.
    assert await later(60, mine, other) == {"mine", "other"}
    documents.refuses = False
    assert await later(8, mine) == {"mine", "other"}
    assert await later(20, mine) == {"mine"}
    assert mine.trouble == ""


@pytest.mark.parametrize("skew", [-600.0, 600.0])
async def test_no_wall_clock_is_asked(skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    documents, clock = InMemoryDocuments(Node), Clock()
    mine = NodePulse("mine", Node(name="mine"), documents)
    other = NodePulse("other", Node(name="other"), documents)
    live = LiveNodes(documents, own=mine, lease=12.0, clock=clock)
    await mine.beat()
    await other.beat()
    await live.fresh()
    monkeypatch.setattr("time.time", lambda: skew)
    monkeypatch.setattr("time.time_ns", lambda: int(skew * 1e9))
    for _ in range(2):
        clock.now += 5
        await live.fresh()
        assert set(live.known) == {"mine", "other"}
    clock.now += 5
    await live.fresh()
    assert set(live.known) == {"mine"}
