"""The sweep: what is left behind by processes that stopped, found by anybody who is still there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Claim, ClaimState, Task
from bridge.errors import VersionConflict
from bridge.metrics import OPEN_TASKS, TASKS
from bridge.store.documents import Documents, Stored
from bridge.tasks.lease import LeaseWatch

log = structlog.get_logger(__name__)

_HELD = {"term": {"state": ClaimState.HELD.value}}
_UNFINISHED = [TaskState.CREATED.value, TaskState.RUNNING.value, TaskState.CANCELLING.value]
_MAX_HELD = 10_000
_STRAY_PAGE = 200


class Sweep:
    """Several may run at once, in as many processes: each step is a compare-and-set, and losing one is harmless.

    An expired lease is looked up again by id before anything is done, so that a search that lags behind can never take
    a task from a holder that beats. A stray (an unfinished task without a claim) must stand still for four leases.
    """

    def __init__(
        self,
        tasks: Documents[Task],
        claims: Documents[Claim],
        *,
        lease: float,
        max_attempts: int,
        clock: Callable[[], float],
        now: Callable[[], int],
    ) -> None:
        self._tasks = tasks
        self._claims = claims
        self._max_attempts = max_attempts
        self._now = now
        self._clock = clock
        self._watch = LeaseWatch(lease, clock)
        self._strays = LeaseWatch(4 * lease, clock)
        self._strays_due = clock()

    async def run(self, types: Collection[TaskType]) -> list[Stored[Claim]]:
        """One round; the claims that are open again."""
        held = await self._claims.search(_HELD, size=_MAX_HELD, exclude=["input"])
        OPEN_TASKS.labels(state="RUNNING").set(len(held))
        self._watch.retain([claim.id for claim in held])
        reopened = []
        for claim in held:
            if self._watch.observe(claim.id, claim.version):
                again = await self._expired(claim)
                if again is not None:
                    reopened.append(again)
        if self._clock() >= self._strays_due:
            self._strays_due = self._clock() + self._strays.lease / 4
            await self._end_strays(types)
        return reopened

    async def _expired(self, seen: Stored[Claim]) -> Stored[Claim] | None:
        claim = await self._claims.get(seen.id)
        if claim is None or claim.version != seen.version:
            return None
        task = await self._tasks.get(claim.id)
        if task is None or task.value.state.final:
            # The holder wrote the result and stopped before it left the queue.
            await self._claims.delete(claim.id)
            return None
        attempts = claim.value.attempts
        reason = (
            f"the worker {claim.value.holder} stopped while running the task "
            f"(attempt {attempts} of {self._max_attempts})"
        )
        if attempts >= self._max_attempts:
            await self._fail(task, reason)
            return None
        try:
            opened = replace(claim.value, state=ClaimState.OPEN, beats=claim.value.beats + 1, last_error=reason)
            again = await self._claims.replace(claim, opened)
        except VersionConflict:
            return None
        log.warning("task put back", action="task.reopened", task_id=claim.id, reason=reason)
        return again

    async def _fail(self, task: Stored[Task], reason: str) -> None:
        ended = replace(task.value, state=TaskState.FAILED, error=reason, last_update_time=self._now())
        try:
            await self._tasks.replace(task, ended)
        except VersionConflict:
            # The holder lives after all, or another sweep was here: the next round sees.
            return
        TASKS.labels(task_type=task.value.task_type, state=TaskState.FAILED).inc()
        log.error("task given up", action="task.failed", task_id=task.id, reason=reason)
        await self._claims.delete(task.id)

    async def _end_strays(self, types: Collection[TaskType]) -> None:
        asked = [{"terms": {"state": _UNFINISHED}}, {"terms": {"task_type": sorted(types)}}]
        oldest = [{"create_time": "asc"}]
        unfinished = await self._tasks.search({"bool": {"filter": asked}}, size=_STRAY_PAGE, sort=oldest)
        ids = [task.id for task in unfinished]
        queued = await self._claims.search({"ids": {"values": ids}}, size=_STRAY_PAGE, exclude=["input"]) if ids else ()
        known = {claim.id for claim in queued}
        strays = [task for task in unfinished if task.id not in known]
        self._strays.retain([task.id for task in strays])
        for task in strays:
            if self._strays.observe(task.id, task.version) and await self._claims.get(task.id) is None:
                await self._fail(
                    task, "the bridge stopped before it had queued the task; please send the request again"
                )
