"""A worker process for the kill tests: what it does is written into the cluster, never only into a log.

Started as `python task_worker.py '{"url": ..., "prefix": ..., "node": ..., "lease": ...}'`. Each start of a handler
makes the document `<task>-<attempt>` (create-only) in the index `<prefix>runs`, each accepted result the document
`<task>-<attempt>-done`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from typing import Any

from bridge.background import Background
from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import VersionConflict
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.cluster_documents import ClusterDocuments
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.job import Job, Outcome
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker


class RecordingQueue(TaskQueue):
    """Writes down each result that the cluster has accepted."""

    runs: ClusterDocuments[dict[str, Any]]

    async def finish(self, job: Job, outcome: Outcome) -> None:
        await super().finish(job, outcome)
        await self.runs.put(f"{job.task_id}-{job.attempts}-done", {"node": self.node_id, "task": job.task_id})


class Handler:
    """Works as long as the task's input says; may die, or look whether it was stopped for longer than its lease."""

    def __init__(self, queue: RecordingQueue) -> None:
        self.queue = queue
        self.late = Background()

    async def __call__(self, job: Job) -> Outcome:
        run = {"node": self.queue.node_id, "task": job.task_id, "attempt": job.attempts}
        await self.queue.runs.create(run, id=f"{job.task_id}-{job.attempts}")
        if job.input.get("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        ends = time.monotonic() + random.uniform(*job.input.get("seconds", (0.0, 0.05)))
        held = job.stored
        while (before := time.monotonic()) < ends:
            await asyncio.sleep(min(0.05, ends - before))
            if time.monotonic() - before > self.queue.lease:
                self.late.start(self._write_late(job, held), name="late write")
        return Outcome(model_id=f"attempt-{job.attempts}", response={"node": self.queue.node_id})

    async def _write_late(self, job: Job, held: Any) -> None:
        """What a holder would do that knows nothing of leases: write the task it held."""
        try:
            done = Task(task_type=job.task.task_type, state=TaskState.COMPLETED, model_id="late")
            await self.queue.tasks.replace(held, done)
        except VersionConflict as error:
            await self.queue.runs.put(f"{job.task_id}-late", {"task": job.task_id, "refused": error.reason})
        else:
            await self.queue.runs.put(f"{job.task_id}-late", {"task": job.task_id, "refused": None})


async def main(told: dict[str, Any]) -> None:
    cluster = Cluster(ClusterConfig(urls=(told["url"],)))
    stores = Stores.on(cluster, IndexNames(told["prefix"]))
    queue = RecordingQueue(
        stores.tasks,
        stores.claims,
        node_id=told["node"],
        lease=told["lease"],
        max_attempts=told.get("max_attempts", 3),
    )
    queue.runs = ClusterDocuments(cluster, told["prefix"] + "runs", dict)
    worker = Worker(
        queue,
        {TaskType.REGISTER_MODEL: Handler(queue), TaskType.DEPLOY_MODEL: Handler(queue)},
        concurrency=told.get("concurrency", 4),
        poll_every=0.5,
        sweep_every=told.get("sweep", 1.0),
    )
    loop = asyncio.get_running_loop()
    stopping = Background()
    loop.add_signal_handler(signal.SIGTERM, lambda: stopping.start(worker.stop(grace=5), name="stop"))
    for _ in range(told.get("submit", 0)):
        await queue.submit(Task(task_type=TaskType.REGISTER_MODEL, state=TaskState.CREATED))
    await worker.run()
    await cluster.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
