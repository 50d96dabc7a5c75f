"""What the task queue costs: claims a second and conflicts, a claim beside many tasks, an idle worker.

    python benchmarks/tasks.py --cluster http://127.0.0.1:9200 [--tasks 400] [--sizes 100,10000] [--idle 30]

Workers are separate queues in one process, each with its own connections, on handlers that do nothing. Indices get a
prefix of their own and are deleted at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from uuid import uuid4

import orjson

from bridge.background import Background
from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Claim, Task
from bridge.metrics import CLAIMS
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.indices import TEMPLATES, ensure_all
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.job import Job, Outcome
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker
from bridge.wire import to_document

KIND = TaskType.REGISTER_MODEL
OPEN_TASK = Task(task_type=KIND, state=TaskState.CREATED)


def spread(values: list[float], unit: str) -> str:
    return f"min {min(values):.1f} / median {statistics.median(values):.1f} / max {max(values):.1f} {unit}"


async def fill(cluster: Cluster, names: IndexNames, count: int, state: TaskState) -> None:
    """Tasks of that state, and claims for the open ones, written in bulk."""
    for start in range(0, count, 2500):
        lines = []
        for number in range(start, min(start + 2500, count)):
            key = f"fill-{state}-{number}"
            lines += [{"index": {"_index": names.task, "_id": key}}, to_document(Task(task_type=KIND, state=state))]
            if not state.final:
                claim = Claim(task_type=KIND, place=random.randrange(2**31))
                lines += [{"index": {"_index": names.claim, "_id": key}}, to_document(claim)]
        body = b"\n".join(orjson.dumps(line) for line in lines) + b"\n"
        await cluster.request("POST", "/_bulk", body=body, idempotent=True)
    await cluster.request("POST", f"/{names.task},{names.claim}/_refresh")


async def throughput(config: ClusterConfig, names: IndexNames, workers: int, tasks: int) -> None:
    clusters = [Cluster(config) for _ in range(workers)]
    await fill(clusters[0], names, tasks, TaskState.CREATED)
    won, lost = (CLAIMS.labels(outcome=outcome)._value for outcome in ("won", "conflict"))
    before = won.get(), lost.get()
    done = asyncio.Event()
    ended = 0

    async def handler(job: Job) -> Outcome:
        nonlocal ended
        ended += 1
        if ended >= tasks:
            done.set()
        return Outcome()

    running = []
    for number, cluster in enumerate(clusters):
        stores = Stores.on(cluster, names)
        queue = TaskQueue(stores.tasks, stores.claims, node_id=f"w{number}")
        running.append(Worker(queue, {KIND: handler}, concurrency=4))
    began = time.perf_counter()
    loops = Background()
    for worker in running:
        loops.start(worker.run(), name="worker")
    await done.wait()
    seconds = time.perf_counter() - began
    for worker in running:
        await worker.stop()
    await loops.close()
    print(
        f"{workers} workers: {tasks / seconds:7.1f} tasks/s (claimed, run, finished), "
        f"{(lost.get() - before[1]) / (won.get() - before[0]):.3f} conflicts a claim"
    )
    for cluster in clusters:
        await cluster.close()


async def claim_cost(config: ClusterConfig, names: IndexNames, sizes: list[int], state: TaskState) -> None:
    cluster = Cluster(config)
    for size in sizes:
        await fill(cluster, names, size, state)
        stores = Stores.on(cluster, names)
        took = []
        for number in range(30):
            queue = TaskQueue(stores.tasks, stores.claims, node_id=f"c{number}")
            if state.final:
                await stores.claims.create(Claim(task_type=KIND, place=1), id=f"fill-{state}-0", refresh=True)
                await stores.tasks.put(f"fill-{state}-0", OPEN_TASK)
            began = time.perf_counter()
            (job,) = await queue.claim([KIND], limit=1)
            took.append((time.perf_counter() - began) * 1000)
            await queue.finish(job, Outcome())
            await stores.claims.refresh()
        print(f"claim beside {size:7d} {'finished' if state.final else 'open'} tasks: {spread(took, 'ms')}")
    await cluster.request("POST", f"/{names.claim}/_delete_by_query?refresh=true", body={"query": {"match_all": {}}})
    await cluster.close()


async def idle(config: ClusterConfig, names: IndexNames, seconds: float) -> None:
    cluster = Cluster(config)
    counted = {"_search": 0, "other": 0}
    passed_on = cluster.attempt

    async def counting(method: str, path: str, **options: object) -> object:
        counted["_search" if path.endswith("_search") else "other"] += 1
        return await passed_on(method, path, **options)  # type: ignore[arg-type]

    cluster.attempt = counting  # type: ignore[method-assign,assignment]
    stores = Stores.on(cluster, names)

    async def handler(job: Job) -> Outcome:
        return Outcome()

    worker = Worker(TaskQueue(stores.tasks, stores.claims, node_id="idle"), {KIND: handler}, concurrency=4)
    running = Background()
    running.start(worker.run(), name="worker")
    await asyncio.sleep(seconds)
    await worker.stop()
    await running.close()
    minute = 60 / seconds
    print(
        f"idle worker: {counted['_search'] * minute:.0f} searches and {counted['other'] * minute:.0f} writes a minute"
    )
    await cluster.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--sizes", default="100,10000,100000")
    parser.add_argument("--idle", type=float, default=30.0)
    told = parser.parse_args()
    config = ClusterConfig(urls=(told.cluster,))
    names = IndexNames(f".bench-{uuid4().hex[:8]}-")
    cluster = Cluster(config)
    try:
        await ensure_all(cluster, names)
        await idle(config, names, told.idle)
        for workers in (1, 4, 8):
            await throughput(config, names, workers, told.tasks)
        sizes = [int(size) for size in told.sizes.split(",")]
        await claim_cost(config, names, sizes, TaskState.CREATED)
        await claim_cost(config, names, sizes, TaskState.COMPLETED)
    finally:
        for name in TEMPLATES:
            await cluster.attempt("DELETE", "/" + names.of(name))
        await cluster.close()


if __name__ == "__main__":
    asyncio.run(main())
