"""A cluster that is killed, or whose answers fail: nothing acknowledged is lost, and nobody asks in a hot loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import BridgeError
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.job import Job, Outcome
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker

pytestmark = [pytest.mark.reliability, pytest.mark.integration]

FAULTS = ("429", "503", "reset", "half", "text")
TASK = Task(task_type=TaskType.REGISTER_MODEL, state=TaskState.CREATED)


class FaultyProxy:
    """Passes requests on one by one; a share of them gets a fault instead, before or after the cluster acted."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self.share = 0.0
        self.requests = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _message(reader)
        self.requests += 1
        fault = random.choice(FAULTS) if random.random() < self.share else None
        if fault in ("429", "503"):
            writer.write(f"HTTP/1.1 {fault} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            return True
        upstream, sender = await asyncio.open_connection(self._host, self._port)
        sender.write(request)
        answer = await _message(upstream)
        sender.close()
        if fault == "reset":
            return False
        if fault == "half":
            writer.write(answer[: len(answer) * 2 // 3])
            return False
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>" if fault == "text" else answer)
        await writer.drain()
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


@pytest.fixture
async def proxy(cluster_url: str) -> AsyncIterator[FaultyProxy]:
    made = FaultyProxy(cluster_url)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.mark.timeout(150)
async def test_q7_faults_are_met_with_few_and_bounded_retries(fleet: Any, proxy: FaultyProxy) -> None:
    cluster = Cluster(ClusterConfig(urls=(proxy.url,)))
    stores = Stores.on(cluster, IndexNames(fleet.prefix))
    queue = TaskQueue(stores.tasks, stores.claims, node_id="q7", lease=6.0, max_attempts=10)
    accepted: list[str] = []

    async def handler(job: Job) -> Outcome:
        await job.update(progress=0.5)
        accepted.append(job.task_id)
        return Outcome(model_id=job.task_id)

    worker = Worker(queue, {TaskType.REGISTER_MODEL: handler}, concurrency=4)
    running = asyncio.create_task(worker.run())
    proxy.share = 0.25
    ids = []
    for _ in range(30):
        try:
            ids.append((await queue.submit(TASK)).id)
        except BridgeError:
            continue
    await fleet.settled(90)
    assert len(ids) >= 20
    assert await fleet.states(ids) == {"COMPLETED": len(ids)}
    assert set(ids) <= set(accepted)

    proxy.share = 1.0
    await asyncio.sleep(1.0)
    before, began = proxy.requests, time.monotonic()
    await asyncio.sleep(12.0)
    rate = (proxy.requests - before) / (time.monotonic() - began)
    assert 0 < rate < 2.0
    proxy.share = 0.0
    last = (await fleet.submit())[0]
    await fleet.settled(40)
    assert await fleet.states([last]) == {"COMPLETED": 1}
    await worker.stop(grace=5)
    await running
    await cluster.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_q4_no_acknowledged_task_is_lost_with_the_cluster(private_cluster: Any, new_fleet: Any) -> None:
    fleet = await new_fleet(private_cluster.url)
    for _ in range(2):
        fleet.start(max_attempts=10)
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def keep_submitting() -> None:
        while not enough.is_set():
            try:
                acknowledged.extend(await fleet.submit(seconds=[0.0, 0.3]))
            except BridgeError:
                await asyncio.sleep(0.2)

    submitting = asyncio.create_task(keep_submitting())
    for _ in range(2):
        known = len(acknowledged)
        await fleet.until(60, lambda known=known: _more(acknowledged, known + 40))
        private_cluster.kill()
        await asyncio.to_thread(private_cluster.restart)
    enough.set()
    await submitting
    await fleet.settled(120)
    assert len(acknowledged) >= 80
    assert await fleet.states(acknowledged) == {"COMPLETED": len(acknowledged)}
    _, done = await fleet.tally()
    assert max(done.values()) == 1


async def _more(found: list[str], than: int) -> bool:
    return len(found) >= than
