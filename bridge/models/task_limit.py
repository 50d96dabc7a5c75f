"""How many tasks of one kind a node works on at once, as a cluster setting says."""

from __future__ import annotations

import asyncio

from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.names import TaskState
from bridge.tasks.job import Job, Outcome, TaskHandler

_LOOK_AGAIN_SECONDS = 0.5


class TaskLimit:
    """A handler around another. Tasks over the limit wait; ML Commons ends them FAILED, here only a limit of 0 does.

    `setting` is the name of a field of ClusterSettings.
    """

    def __init__(self, handler: TaskHandler, setting: str, settings: CurrentSettings) -> None:
        self._handler = handler
        self._setting = setting
        self._settings = settings
        self._running = 0

    async def __call__(self, job: Job) -> Outcome:
        """The other handler's outcome; FAILED when nothing may run on this node."""
        while self._running >= (limit := int(getattr(self._settings.current, self._setting))):
            if limit <= 0:
                reason = f"exceed max running task limit: plugins.ml_commons.{self._setting} is 0"
                return Outcome(state=TaskState.FAILED, error=reason)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self._running += 1
        try:
            return await self._handler(job)
        finally:
            self._running -= 1
