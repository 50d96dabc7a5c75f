"""Tasks of this node in its statistics."""

from __future__ import annotations

from bridge.models.statistics import REGISTER, Statistics
from bridge.tasks.job import Job, Outcome, TaskHandler


def counted(handler: TaskHandler, statistics: Statistics, action: str = REGISTER) -> TaskHandler:
    """A handler around another that counts its tasks under `action`."""

    async def run(job: Job) -> Outcome:
        with statistics.doing(action, job.task.function_name):
            return await handler(job)

    return run
