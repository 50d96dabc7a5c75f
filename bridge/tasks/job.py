"""A task in the hands of the worker that holds its claim."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.domain.names import TaskState
from bridge.domain.task import Claim, Task
from bridge.store.documents import Stored


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a handler ended; fields that are None leave the task's own as they are. `state` is a final one."""

    state: TaskState = TaskState.COMPLETED
    error: str | None = None
    model_id: str | None = None
    response: dict[str, Any] | None = None

    def fields(self) -> dict[str, Any]:
        """The changes to the task."""
        told = {"error": self.error, "model_id": self.model_id, "response": self.response}
        return {"state": self.state, **{name: value for name, value in told.items() if value is not None}}


class Holding(Protocol):
    """What a job asks of its queue."""

    async def update(self, job: Job, **fields: Any) -> None:
        """See Job.update."""
        ...


class Job:
    """A claimed task. `trusted_until` is the monotonic time up to which the holder may believe in its lease.

    `stored` is the task as this holder last wrote it: its version is the fencing token, since a new holder's first act
    is to write the task. `lost` is set as soon as the claim is known or feared to be another's.
    """

    def __init__(self, holding: Holding, stored: Stored[Task], claim: Stored[Claim], trusted_until: float) -> None:
        self.stored = stored
        self.claim = claim
        self.trusted_until = trusted_until
        self.lost = asyncio.Event()
        self.why_lost = ""
        self.ended = False
        self.silent = False
        self.writing = asyncio.Lock()
        self.work: asyncio.Task[Any] | None = None
        self._holding = holding

    @property
    def task_id(self) -> str:
        """The id that clients poll."""
        return self.stored.id

    @property
    def task(self) -> Task:
        """The task as this holder last wrote it."""
        return self.stored.value

    @property
    def input(self) -> dict[str, Any]:
        """What `submit` was given for the handler alone."""
        return self.claim.value.input or {}

    @property
    def attempts(self) -> int:
        """How many holders the task has had, this one included."""
        return self.claim.value.attempts

    async def update(self, **fields: Any) -> None:
        """Write fields of the task (`last_update_time` is added), refused once the claim is another's.

        Raises ClaimLost, ClusterUnavailable and ClusterError.
        """
        await self._holding.update(self, **fields)

    def lose(self, why: str) -> None:
        """The claim is gone: stop the handler. Its result will be dropped."""
        if not self.lost.is_set():
            self.why_lost = why
            self.lost.set()
            if self.work is not None:
                self.work.cancel()


TaskHandler = Callable[[Job], Awaitable[Outcome]]
"""Does one task. What it raises ends the task FAILED; ClusterUnavailable lets another attempt be made."""
