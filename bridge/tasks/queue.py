"""The queue: tasks in, claims shared out by compare-and-set, results written once.

A task is two documents of one id: the task that clients poll, and the claim that workers compete for. The task is
written first, so no worker meets a claim without its task; a task whose claim was never written (the process died in
between, before the client had its answer) is found by the sweep. The claim is deleted when the task is final, so what
is finished costs nothing.

Who holds a task is decided in the claim; what may be written is decided in the task. The winner of a claim writes the
task before anything else, which moves its version on, and every later write names the version of the write before: a
former holder's write is refused by the cluster, whatever that holder believes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import structlog

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Claim, ClaimState, Task
from bridge.errors import BridgeError, ClaimLost, Conflict, NotFound, VersionConflict
from bridge.metrics import CLAIMS, LEASES_LOST, TASKS
from bridge.store.documents import Documents, Stored
from bridge.tasks.job import Job, Outcome
from bridge.tasks.proposals import Proposals
from bridge.tasks.sweep import Sweep

log = structlog.get_logger(__name__)

LEASE = 12.0
"""Seconds without a heartbeat after which a holder counts as gone; it beats three times as often."""

MAX_ATTEMPTS = 3

_GONE = "the claim went to another holder, or the task was ended from outside"

_KEEP_CREATED = (TaskType.REGISTER_MODEL, TaskType.UPLOAD_MODEL)
"""ML Commons shows these as CREATED until they end."""


def epoch_ms() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class TaskQueue:
    """One process's view of the queue. All methods raise ClusterUnavailable and ClusterError.

    `lease` is in seconds of `clock`, which is monotonic; `now` gives epoch milliseconds for what clients read.
    """

    def __init__(
        self,
        tasks: Documents[Task],
        claims: Documents[Claim],
        *,
        node_id: str,
        lease: float = LEASE,
        max_attempts: int = MAX_ATTEMPTS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = epoch_ms,
        rng: random.Random | None = None,
    ) -> None:
        self.tasks = tasks
        self.claims = claims
        self.node_id = node_id
        self.lease = lease
        self.max_attempts = max_attempts
        self.nudged = asyncio.Event()
        self.clock = clock
        self._now = now
        # The holder stops trusting its lease before the first observer can see it expire.
        self._trust = lease * 0.9
        self._proposals = Proposals(claims, clock, rng or random.Random())
        self._sweep = Sweep(tasks, claims, lease=lease, max_attempts=max_attempts, clock=clock, now=now)

    @property
    def more(self) -> bool:
        """The last `claim` left candidates behind: looking again at once may find work."""
        return self._proposals.more

    async def submit(self, task: Task, *, input: dict[str, Any] | None = None) -> Stored[Task]:
        """Write a task and put it in the queue; workers of this process hear of it at once.

        `input` is for the handler alone. When this returns, the task is going to reach a final state.
        """
        now = self._now()
        filled = replace(task, create_time=task.create_time or now, last_update_time=task.last_update_time or now)
        stored = await self.tasks.create(filled)
        claim = Claim(task_type=task.task_type, place=self._proposals.place(), input=input)
        try:
            self._hint(await self.claims.create(claim, id=stored.id))
        except BridgeError:
            await self._withdraw(stored)
            raise
        return stored

    async def get(self, task_id: str) -> Stored[Task]:
        """The task. Raises NotFound."""
        stored = await self.tasks.get(task_id)
        if stored is None:
            raise NotFound("Failed to find task")
        return stored

    async def delete(self, task_id: str) -> None:
        """Remove a task that nobody works on. Raises NotFound, and Conflict while it runs."""
        stored = await self.get(task_id)
        claim = await self.claims.get(task_id)
        if not stored.value.state.final and (
            stored.value.state is TaskState.RUNNING or (claim is not None and claim.value.state is ClaimState.HELD)
        ):
            raise Conflict("Task cannot be deleted in running state. Try after sometime")
        try:
            if claim is not None:
                await self.claims.delete(task_id, version=claim.version)
            await self.tasks.delete(task_id, version=stored.version, refresh=True)
        except VersionConflict as error:
            raise Conflict("Task cannot be deleted in running state. Try after sometime") from error

    async def cancel(self, task_id: str, *, reason: str | None = None) -> Stored[Task]:
        """End a task as CANCELLED unless it is final already; a holder notices at its next write or beat.

        Raises NotFound.
        """
        return await self._end(task_id, TaskState.CANCELLED, reason)

    async def fail(self, task_id: str, reason: str) -> Stored[Task]:
        """End a task as FAILED unless it is final already. Raises NotFound."""
        return await self._end(task_id, TaskState.FAILED, reason)

    async def claim(self, types: Collection[TaskType], *, limit: int) -> Sequence[Job]:
        """Try to become the holder of up to `limit` open tasks; what was won in a race comes back, perhaps nothing."""
        return await self._decide(await self._proposals.candidates(types, limit))

    async def claim_one(self, task_id: str) -> Job | None:
        """Try to become the holder of this task; None when it is not open (any more)."""
        found = await self.claims.get(task_id)
        if found is None or found.value.state is not ClaimState.OPEN:
            return None
        return next(iter(await self._decide([found])), None)

    async def update(self, job: Job, **fields: Any) -> None:
        """See Job.update."""
        self.check_trust(job)
        if job.lost.is_set():
            raise ClaimLost(f"task {job.task_id} is no longer held by {self.node_id}")
        await self._write(job, fields)

    def check_trust(self, job: Job) -> None:
        """Give the job up when its lease has run out by this holder's own clock: somebody else may hold it now."""
        if not job.ended and self.clock() > job.trusted_until:
            self._lose(job, "no heartbeat got through for a whole lease")

    async def beat(self, jobs: Sequence[Job]) -> None:
        """Show that the holder lives, for all `jobs` in one round trip; jobs whose claim is another's are lost."""
        missed = await self._beat_once(jobs)
        held = [job for job in missed if not job.ended and await self._still_mine(job)]
        for job in missed:
            if not job.ended and job not in held:
                self._lose(job, _GONE)
        # An earlier beat had arrived though its answer had not: now that its version is known, beat again.
        await self._beat_once(held)

    async def _beat_once(self, jobs: Sequence[Job]) -> list[Job]:
        sent = self.clock()
        beating = [job for job in jobs if not job.ended]
        pairs = [(job.claim, replace(job.claim.value, beats=job.claim.value.beats + 1)) for job in beating]
        missed = []
        for job, written in zip(beating, await self.claims.replace_many(pairs), strict=True):
            if written is None:
                missed.append(job)
            else:
                job.claim = written
                job.trusted_until = sent + self._trust
                job.silent = False
        return missed

    async def finish(self, job: Job, outcome: Outcome) -> None:
        """Write the result and leave the queue. Raises ClaimLost when the task has gone on without this holder.

        A lease that has only run out by this holder's own clock does not matter here: the cluster refuses the write if
        anybody has taken the task over, and takes it if nobody has.
        """
        await self._write(job, outcome.fields())
        job.ended = True
        TASKS.labels(task_type=job.task.task_type, state=outcome.state).inc()
        await self.claims.delete(job.task_id)

    async def release(self, job: Job, *, counted: bool = False, reason: str | None = None) -> None:
        """Give the claim back so that another holder may have the task; does nothing when it is another's already.

        `counted` says whether this attempt is one of the few that a task has; the last one ends it FAILED.
        """
        job.ended = True
        if counted and job.attempts >= self.max_attempts:
            why = f"{reason or job.claim.value.last_error} (attempt {job.attempts} of {self.max_attempts})"
            await self.finish(job, Outcome(state=TaskState.FAILED, error=why))
            return
        while True:
            held = job.claim.value
            given = replace(
                held,
                state=ClaimState.OPEN,
                attempts=held.attempts if counted else held.attempts - 1,
                beats=held.beats + 1,
                last_error=reason or held.last_error,
            )
            try:
                await self.claims.replace(job.claim, given)
                return
            except VersionConflict:
                # An own heartbeat whose answer was lost may have moved the version on.
                if not await self._still_mine(job):
                    return

    async def sweep(self, types: Collection[TaskType]) -> int:
        """Put tasks of stopped holders back, end poison tasks and tasks that never got into the queue.

        Returns how many were put back. Call it several times in each lease.
        """
        reopened = await self._sweep.run(types)
        for claim in reopened:
            self._hint(claim)
        return len(reopened)

    def _hint(self, claim: Stored[Claim]) -> None:
        self._proposals.hint(claim)
        self.nudged.set()

    async def _withdraw(self, stored: Stored[Task]) -> None:
        try:
            await self.tasks.delete(stored.id)
        except BridgeError as error:
            log.warning("task without claim", action="task.stray", task_id=stored.id, reason=error.reason)

    async def _decide(self, candidates: Sequence[Stored[Claim]]) -> list[Job]:
        if not candidates:
            return []
        trusted_until = self.clock() + self._trust
        pairs = [(claim, self._held(claim.value)) for claim in candidates]
        won = [written for written in await self.claims.replace_many(pairs) if written is not None]
        CLAIMS.labels(outcome="won").inc(len(won))
        CLAIMS.labels(outcome="conflict").inc(len(candidates) - len(won))
        taken = await asyncio.gather(*(self._take(claim, trusted_until) for claim in won), return_exceptions=True)
        jobs = []
        for claim, job in zip(won, taken, strict=True):
            if isinstance(job, Job):
                jobs.append(job)
            elif isinstance(job, BaseException):
                # The lease runs out and the sweep puts it back; the cluster is in trouble anyway.
                log.warning("claim won, task not taken", action="task.untaken", task_id=claim.id, reason=str(job))
        return jobs

    def _held(self, claim: Claim) -> Claim:
        return replace(
            claim, state=ClaimState.HELD, holder=self.node_id, attempts=claim.attempts + 1, beats=claim.beats + 1
        )

    async def _take(self, claim: Stored[Claim], trusted_until: float) -> Job | None:
        """Move the task's version on, so that no earlier holder can write it; None when there is nothing to do."""
        while True:
            stored = await self.tasks.get(claim.id)
            if stored is None or stored.value.state.final:
                await self.claims.delete(claim.id)
                return None
            try:
                taken = await self.tasks.replace(stored, self._taken(stored.value, claim.value))
            except VersionConflict:
                continue
            return Job(self, taken, claim, trusted_until)

    def _taken(self, task: Task, claim: Claim) -> Task:
        state = task.state if task.task_type in _KEEP_CREATED else TaskState.RUNNING
        nodes = task.worker_node
        if not nodes or (claim.task_type in _KEEP_CREATED and claim.attempts > 1):
            nodes = (self.node_id,)
        return replace(task, state=state, worker_node=nodes, last_update_time=self._now())

    async def _write(self, job: Job, fields: dict[str, Any]) -> None:
        async with job.writing:
            while True:
                changed = replace(job.stored.value, **{"last_update_time": self._now(), **fields})
                try:
                    job.stored = await self.tasks.replace(job.stored, changed)
                    return
                except VersionConflict:
                    await self._catch_up(job)

    async def _catch_up(self, job: Job) -> None:
        """After a refused write: go on from the newer task if this holder still holds it. Raises ClaimLost.

        The task is read before the claim. If the claim is then still this holder's, whoever takes it over later also
        moves the task's version past the one read here.
        """
        fresh = await self.tasks.get(job.task_id)
        mine = await self._still_mine(job)
        if mine and fresh is not None and not fresh.value.state.final:
            job.stored = fresh
            return
        self._lose(job, _GONE)
        if mine:
            await self.claims.delete(job.task_id)
        raise ClaimLost(f"task {job.task_id} is no longer held by {self.node_id}")

    async def _still_mine(self, job: Job) -> bool:
        """Whether the claim is this holder's; an own heartbeat with a lost answer is caught up with.

        Beats only ever grow, and a release or a new holder adds one: more than one beyond the last known is not ours,
        even if the same node has won the task again with the same number of attempts.
        """
        found = await self.claims.get(job.task_id)
        if found is None:
            return False
        known, there = job.claim.value, found.value
        held = there.state is ClaimState.HELD and (there.holder, there.attempts) == (self.node_id, known.attempts)
        if not held or there.beats > known.beats + 1:
            return False
        job.claim = found
        return True

    def _lose(self, job: Job, why: str) -> None:
        if not job.lost.is_set():
            LEASES_LOST.inc()
            log.warning("claim lost", action="task.lost", task_id=job.task_id, node=self.node_id, reason=why)
        job.lose(why)

    async def _end(self, task_id: str, state: TaskState, reason: str | None) -> Stored[Task]:
        while True:
            stored = await self.get(task_id)
            if not stored.value.state.final:
                error = reason if reason is not None else stored.value.error
                ended = replace(stored.value, state=state, error=error, last_update_time=self._now())
                try:
                    stored = await self.tasks.replace(stored, ended)
                except VersionConflict:
                    continue
                TASKS.labels(task_type=stored.value.task_type, state=state).inc()
            await self.claims.delete(task_id)
            return stored
