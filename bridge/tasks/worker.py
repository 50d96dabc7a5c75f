"""The worker: takes a free slot, then a claim, runs the handler, and beats until it is done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from bridge.background import Background
from bridge.domain.names import TaskState, TaskType
from bridge.errors import BridgeError, ClaimLost, ClusterUnavailable
from bridge.tasks.job import Job, Outcome, TaskHandler
from bridge.tasks.queue import TaskQueue
from bridge.tasks.room import Room

log = structlog.get_logger(__name__)

_MAX_BACKOFF = 15.0
_MOST_WATCHED = 100


class Worker:
    """Runs tasks of the given types, at most `concurrency` at a time. `poll_every` and `sweep_every` are seconds.

    Tasks of the types in `watched` only wait for something, so they take no slots: a hundred of them that wait long
    keep nobody from working. A task submitted in this process starts at once; polling finds those of others. Waits are
    spread by +-25 percent, and grow up to 15 s while the cluster does not answer.
    """

    def __init__(
        self,
        queue: TaskQueue,
        handlers: Mapping[TaskType, TaskHandler],
        *,
        concurrency: int,
        watched: Collection[TaskType] = (),
        poll_every: float = 2.0,
        sweep_every: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        self._queue = queue
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._watched = frozenset(watched)
        self._poll_every = poll_every
        self._sweep_every = min(sweep_every, queue.lease / 2)
        self._rng = rng or random.Random()
        self._jobs: set[Job] = set()
        self._loops = Background()
        self._claims = Background()
        self._runs = Background()
        self._stopping = asyncio.Event()
        self._draining = False
        self._room = Room()
        self._slot_freed = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def running(self) -> int:
        """Tasks in hand."""
        return len(self._jobs)

    async def run(self) -> None:
        """Work until `stop` has been called and has ended; being cancelled is a stop without grace."""
        self._loops.start(self._beat_forever(), name="task beats")
        self._loops.start(self._sweep_forever(), name="task sweep")
        self._claims.start(self._claim_forever(), name="task claims")
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            await self.stop(grace=0.0)
            raise

    async def stop(self, grace: float = 30.0) -> None:
        """Take nothing new; what runs may end within `grace` seconds, the rest goes back to the queue, not counted."""
        self._stopping.set()
        self._slot_freed.set()
        # What the claim loop is just winning must be given back, not left to run out.
        await self._claims.settled(5.0)
        await self._runs.settled(grace)
        self._draining = True
        for job in self._jobs:
            if job.work is not None:
                job.work.cancel()
        await self._runs.settled(max(5.0, self._queue.lease))
        for owned in (self._claims, self._runs, self._loops):
            await owned.close()
        self._ended.set()

    async def _claim_forever(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._slot_freed.clear()
            types, free = self._takes()
            if free <= 0:
                await self._slot_freed.wait()
                continue
            self._queue.nudged.clear()
            try:
                jobs = await self._queue.claim(types, limit=free)
                failures = 0
            except Exception as error:
                failures += 1
                self._complain("claiming", error)
                await self._pause(self._backoff(failures))
                continue
            for job in jobs:
                self._jobs.add(job)
                self._runs.start(self._run(job), name=f"task {job.task_id}")
            if not jobs:
                await self._wait_for_work(full=len(types) < len(self._handlers))

    def _takes(self) -> tuple[list[TaskType], int]:
        """Which types to claim now, and how many tasks of them."""
        watching = sum(1 for job in self._jobs if job.task.task_type in self._watched)
        free = self._room.places(self._concurrency - (len(self._jobs) - watching))
        if free > 0 and watching < _MOST_WATCHED:
            return list(self._handlers), free
        if free > 0:
            return [each for each in self._handlers if each not in self._watched], free
        types = [each for each in self._handlers if each in self._watched]
        return types, min(self._room.places(1), _MOST_WATCHED - watching) if types else 0

    async def _wait_for_work(self, *, full: bool) -> None:
        """Until there may be work. `full`: some types were not asked for, which a free slot will change."""
        if self._queue.more and not full:
            await self._pause(self._rng.uniform(0.02, 0.2))
            return
        awaited = [self._queue.nudged, self._stopping, *([self._slot_freed] if full else [])]
        waits = {self._loops.start(event.wait(), name="task wait") for event in awaited}
        await asyncio.wait(waits, timeout=self._spread(self._poll_every), return_when="FIRST_COMPLETED")
        for wait in waits:
            wait.cancel()

    async def _run(self, job: Job) -> None:
        with structlog.contextvars.bound_contextvars(task_id=job.task_id, node=self._queue.node_id):
            try:
                await self._with_room(job)
            except Exception:
                log.exception("task left to the sweep", action="task.broken")
            finally:
                job.ended = True
                self._jobs.discard(job)
                self._slot_freed.set()

    async def _with_room(self, job: Job) -> None:
        if not self._room.enter(alone=1 < self._queue.max_attempts <= job.attempts):
            await self._insist(job, lambda: self._queue.release(job))
            return
        try:
            await self._carry_out(job)
        finally:
            self._room.leave()

    async def _carry_out(self, job: Job) -> None:
        if self._stopping.is_set():
            await self._insist(job, lambda: self._queue.release(job))
            return
        # A task of its own: losing the claim cancels the handler, and nothing else of this run.
        job.work = self._runs.start(self._handled(job), name=f"handler of task {job.task_id}")
        if job.lost.is_set():
            job.work.cancel()
        await asyncio.wait({job.work})
        if job.work.cancelled():
            await self._interrupted(job)
            return
        outcome = job.work.result()
        if isinstance(outcome, Outcome):
            await self._insist(job, lambda: self._queue.finish(job, outcome))
            log.info("task ended", action="task.ended", state=outcome.state, attempts=job.attempts)
        else:
            await self._insist(job, lambda: self._queue.release(job, counted=True, reason=outcome))

    async def _interrupted(self, job: Job) -> None:
        if not job.lost.is_set() and not self._draining:
            await self._insist(job, lambda: self._queue.finish(job, _failed("the task was interrupted")))
            return
        log.warning("task given back", action="task.interrupted", reason=job.why_lost or "the worker stops")
        # A holder that could not beat because the cluster was away is not to blame; one that stalled by itself is.
        blamed = job.lost.is_set() and not job.silent
        reason = f"{self._queue.node_id}: {job.why_lost}" if job.lost.is_set() else None
        await self._insist(job, lambda: self._queue.release(job, counted=blamed, reason=reason))

    async def _handled(self, job: Job) -> Outcome | str:
        """The handler's outcome, or the reason for which another attempt is due."""
        try:
            return await self._handlers[job.task.task_type](job)
        except ClaimLost:
            raise asyncio.CancelledError from None
        except ClusterUnavailable as error:
            return error.reason
        except BridgeError as error:
            log.warning("task failed", action="task.failed", reason=error.reason)
            return _failed(error.reason)
        except Exception as error:
            log.exception("task failed", action="task.failed")
            return _failed(f"unexpected {type(error).__name__} while running the task; see the log of the worker")

    async def _insist(self, job: Job, write: Callable[[], Awaitable[None]]) -> None:
        """Repeat a closing write while the cluster does not take it, for ten leases; being refused ends it."""
        deadline = self._queue.clock() + 10 * self._queue.lease
        failures = 0
        while True:
            try:
                await write()
                return
            except ClaimLost:
                log.warning("result dropped: the claim went to another", action="task.dropped")
                return
            except BridgeError as error:
                failures += 1
                if self._queue.clock() > deadline:
                    raise
                self._complain(f"closing task {job.task_id}", error)
            await asyncio.sleep(self._backoff(failures))

    async def _beat_forever(self) -> None:
        third = self._queue.lease / 3
        while True:
            jobs = [job for job in self._jobs if not job.ended]
            failed = False
            began = self._queue.clock()
            try:
                if jobs:
                    async with asyncio.timeout(third):
                        await self._queue.beat(jobs)
            except Exception as error:
                failed = True
                # After a stall of this process even a prompt cluster seems late; only the cluster's silence excuses.
                if self._queue.clock() - began < 2 * third:
                    for job in jobs:
                        job.silent = True
                self._complain("beating", error)
            for job in jobs:
                self._queue.check_trust(job)
            await asyncio.sleep(third / 4 if failed else third * self._rng.uniform(0.8, 1.0))

    async def _sweep_forever(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(self._spread(self._sweep_every) + (self._backoff(failures) if failures else 0.0))
            try:
                await self._queue.sweep(list(self._handlers))
                failures = 0
            except Exception as error:
                failures += 1
                self._complain("sweeping", error)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _spread(self, seconds: float) -> float:
        return seconds * self._rng.uniform(0.75, 1.25)

    def _backoff(self, failures: int) -> float:
        return self._spread(min(_MAX_BACKOFF, self._poll_every * 2 ** min(failures, 5)))

    def _complain(self, doing: str, error: Exception) -> None:
        known = isinstance(error, (BridgeError, TimeoutError))
        log.warning(
            f"{doing} failed", action="task.trouble", reason=str(error) or type(error).__name__, exc_info=not known
        )


def _failed(reason: str) -> Outcome:
    return Outcome(state=TaskState.FAILED, error=reason)
