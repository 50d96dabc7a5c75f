"""A fleet of worker processes on one cluster, and the questions that the kill tests ask of the cluster afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Task
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.cluster_documents import ClusterDocuments
from bridge.store.indices import ensure_all
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.queue import TaskQueue

SCRIPT = Path(__file__).parent / "task_worker.py"


class Fleet:
    """Worker processes that share nothing but the cluster."""

    def __init__(self, url: str, prefix: str, *, lease: float = 3.0) -> None:
        self.url = url
        self.prefix = prefix
        self.lease = lease
        self.cluster = Cluster(ClusterConfig(urls=(url,)))
        self.stores = Stores.on(self.cluster, IndexNames(prefix))
        self.queue = TaskQueue(self.stores.tasks, self.stores.claims, node_id="test", lease=lease)
        self.runs = ClusterDocuments(self.cluster, prefix + "runs", dict)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = 0

    async def prepare(self) -> None:
        await ensure_all(self.cluster, IndexNames(self.prefix))
        mapping = {"properties": {"task": {"type": "keyword"}, "node": {"type": "keyword"}}, "dynamic": False}
        settings = {"index.number_of_shards": 1, "index.auto_expand_replicas": "0-1", "index.hidden": True}
        await self.cluster.request("PUT", f"/{self.prefix}runs", body={"mappings": mapping, "settings": settings})

    def start(self, name: str = "w", **told: Any) -> str:
        """A new process with a node id of its own."""
        self._starts += 1
        node = f"{name}-{self._starts}"
        words = {"url": self.url, "prefix": self.prefix, "node": node, "lease": self.lease, **told}
        self.processes[node] = subprocess.Popen([sys.executable, str(SCRIPT), json.dumps(words)], cwd=SCRIPT.parents[2])
        return node

    def kill(self, node: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(node)
        process.send_signal(with_signal)
        process.wait(timeout=30)

    def signal(self, node: str, number: signal.Signals) -> None:
        self.processes[node].send_signal(number)

    async def submit(self, count: int = 1, **input_: Any) -> list[str]:
        """Ids of tasks that the cluster has acknowledged."""
        task = Task(task_type=TaskType.REGISTER_MODEL, state=TaskState.CREATED)
        return [(await self.queue.submit(task, input=input_)).id for _ in range(count)]

    async def open_claims(self) -> int:
        await self.stores.claims.refresh()
        return len(await self.stores.claims.search({"match_all": {}}, size=10_000, exclude=["input"]))

    async def settled(self, within: float) -> None:
        """Wait until the queue is empty; fail after `within` seconds."""

        async def empty() -> bool:
            return not await self.open_claims()

        await self.until(within, empty)

    async def until(self, within: float, look: Callable[[], Awaitable[Any]]) -> Any:
        """What `look` gives once it is something; fail after `within` seconds."""
        async with asyncio.timeout(within):
            while True:
                if found := await look():
                    return found
                await asyncio.sleep(0.2)

    async def run_ids(self, task: str) -> list[str]:
        await self.runs.refresh()
        return sorted(stored.id for stored in await self.runs.search({"term": {"task": task}}))

    async def tally(self) -> tuple[Counter[str], Counter[str]]:
        """How often each task was started, and how often a result of it was accepted."""
        await self.runs.refresh()
        started: Counter[str] = Counter()
        done: Counter[str] = Counter()
        for stored in await self.runs.search({"match_all": {}}, size=10_000):
            (done if stored.id.endswith("-done") else started)[stored.value["task"]] += 1
        return started, done

    async def states(self, ids: list[str]) -> Counter[str]:
        found = [await self.stores.tasks.get(id_) for id_ in ids]
        return Counter("missing" if stored is None else stored.value.state.value for stored in found)

    async def close(self) -> None:
        for node in list(self.processes):
            self.signal(node, signal.SIGCONT)
            self.kill(node)
        await self.cluster.close()


@pytest.fixture
async def new_fleet(index_prefix: str) -> AsyncIterator[Callable[..., Any]]:
    fleets: list[Fleet] = []

    async def make(url: str, **options: Any) -> Fleet:
        fleets.append(Fleet(url, index_prefix, **options))
        await fleets[-1].prepare()
        return fleets[-1]

    yield make
    for fleet in fleets:
        await fleet.close()


@pytest.fixture
async def fleet(new_fleet: Callable[..., Any], cluster_url: str) -> Any:
    return await new_fleet(cluster_url)
