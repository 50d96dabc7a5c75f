"""The worker on the in-memory store: outcomes, interruptions, drain, and the manners of an idle or unlucky one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Claim, ClaimState, Task
from bridge.errors import ClusterUnavailable, Conflict, InvalidRequest, NotFound
from bridge.store.documents import Stored
from bridge.store.in_memory import InMemoryDocuments
from bridge.tasks.job import Job, Outcome
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker

REGISTER = TaskType.REGISTER_MODEL
DEPLOY = TaskType.DEPLOY_MODEL
pytestmark = pytest.mark.timeout(20)


class Bench:
    """One store, any number of queues and workers on it."""

    def __init__(self) -> None:
        self.tasks = InMemoryDocuments(Task)
        self.claims = InMemoryDocuments(Claim)
        self.workers: list[tuple[Worker, asyncio.Task[None]]] = []

    def queue(self, node: str = "n1", **options: Any) -> TaskQueue:
        return TaskQueue(self.tasks, self.claims, node_id=node, **{"lease": 0.6, **options})

    def work(self, queue: TaskQueue, handler: Any, **options: Any) -> Worker:
        given = {"concurrency": 2, "poll_every": 0.05, "sweep_every": 0.1, **options}
        worker = Worker(queue, {REGISTER: handler, DEPLOY: handler}, **given)
        self.workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    async def final(self, task_id: str) -> Task:
        """The task once it is final and out of the queue."""

        async def ended() -> bool:
            return (await self.task(task_id)).state.final and await self.claims.get(task_id) is None

        await until(ended)
        return await self.task(task_id)

    async def task(self, task_id: str) -> Task:
        stored = await self.tasks.get(task_id)
        assert stored is not None
        return stored.value


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    for worker, running in made.workers:
        await worker.stop(grace=0)
        await running


async def until(true: Callable[[], Awaitable[bool] | bool]) -> None:
    while True:
        found = true()
        if found is True or (not isinstance(found, bool) and await found):
            return
        await asyncio.sleep(0.01)


def task(kind: TaskType = REGISTER) -> Task:
    return Task(task_type=kind, state=TaskState.CREATED)


async def test_a_task_is_done_and_leaves_the_queue(bench: Bench) -> None:
    queue = bench.queue()

    async def handler(job: Job) -> Outcome:
        assert job.input == {"url": "u"}
        assert job.attempts == 1
        await job.update(progress=0.5)
        return Outcome(model_id="m1", response={"x": 1})

    bench.work(queue, handler)
    stored = await queue.submit(task(), input={"url": "u"})
    done = await bench.final(stored.id)
    assert (done.state, done.model_id, done.response, done.progress) == (TaskState.COMPLETED, "m1", {"x": 1}, 0.5)
    assert done.worker_node == ("n1",)
    assert done.error is None
    assert done.create_time is not None
    assert done.last_update_time is not None
    assert done.last_update_time >= done.create_time


async def test_a_task_of_this_process_does_not_wait_for_a_poll(bench: Bench) -> None:
    queue = bench.queue()

    async def handler(job: Job) -> Outcome:
        return Outcome()

    bench.work(queue, handler, poll_every=600.0)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        await bench.final((await queue.submit(task())).id)


@pytest.mark.parametrize(("kind", "shown"), [(REGISTER, TaskState.CREATED), (DEPLOY, TaskState.RUNNING)])
async def test_state_while_it_runs(bench: Bench, kind: TaskType, shown: TaskState) -> None:
    queue, going = bench.queue(), asyncio.Event()

    async def handler(job: Job) -> Outcome:
        assert job.task.state is shown
        going.set()
        return Outcome()

    bench.work(queue, handler)
    stored = await queue.submit(replace(task(kind), worker_node=("planned",)))
    await going.wait()
    assert (await bench.final(stored.id)).worker_node == ("planned",)


async def test_what_a_handler_raises_is_the_reason(bench: Bench) -> None:
    queue = bench.queue()

    async def handler(job: Job) -> Outcome:
        raise InvalidRequest("model content changed") if job.input["known"] else RuntimeError("secret path")

    bench.work(queue, handler)
    known = await queue.submit(task(), input={"known": True})
    other = await queue.submit(task(), input={"known": False})
    assert (await bench.final(known.id)).error == "model content changed"
    failed = await bench.final(other.id)
    assert failed.state is TaskState.FAILED
    assert failed.error is not None
    assert "RuntimeError" in failed.error
    assert "secret" not in failed.error


async def test_trouble_with_the_cluster_is_tried_again_and_counted(bench: Bench) -> None:
    queue, seen = bench.queue(), []

    async def handler(job: Job) -> Outcome:
        seen.append(job.attempts)
        raise ClusterUnavailable("no whole answer")

    bench.work(queue, handler)
    done = await bench.final((await queue.submit(task())).id)
    assert seen == [1, 2, 3]
    assert (done.state, done.error) == (TaskState.FAILED, "no whole answer (attempt 3 of 3)")


async def test_a_holder_that_stopped_is_replaced(bench: Bench) -> None:
    dead, alive = bench.queue("dead"), bench.queue("alive")
    stored = await dead.submit(task())
    (stale,) = await dead.claim([REGISTER], limit=1)

    async def handler(job: Job) -> Outcome:
        return Outcome(model_id=f"attempt {job.attempts}")

    bench.work(alive, handler)
    done = await bench.final(stored.id)
    assert (done.model_id, done.worker_node) == ("attempt 2", ("alive",))
    with pytest.raises(Exception, match="no longer held"):
        await dead.finish(stale, Outcome(model_id="late"))
    assert await bench.task(stored.id) == done


async def test_a_poison_task_ends_with_the_reason(bench: Bench) -> None:
    dead, alive = bench.queue("dead"), bench.queue("alive")
    stored = await dead.submit(task())

    async def die() -> None:
        while not (await bench.task(stored.id)).state.final:
            await dead.claim([REGISTER], limit=1)
            await alive.sweep([REGISTER])
            await asyncio.sleep(0.05)

    await die()
    done = await bench.final(stored.id)
    assert done.state is TaskState.FAILED
    assert done.error == "the worker dead stopped while running the task (attempt 3 of 3)"


async def test_beats_keep_a_long_task(bench: Bench) -> None:
    holder, other = bench.queue("holder"), bench.queue("other")

    async def handler(job: Job) -> Outcome:
        await asyncio.sleep(2.0)
        return Outcome(model_id=str(job.attempts))

    bench.work(holder, handler)
    stored = await holder.submit(task())
    await until(lambda: bench.workers[0][0].running == 1)
    bench.work(other, handler)
    assert (await bench.final(stored.id)).model_id == "1"


async def test_a_cancelled_task_stops_its_handler(bench: Bench) -> None:
    queue, cancelled = bench.queue(), asyncio.Event()

    async def handler(job: Job) -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Outcome()

    worker = bench.work(queue, handler)
    stored = await queue.submit(task())
    await until(lambda: worker.running == 1)
    await queue.cancel(stored.id, reason="not wanted")
    await cancelled.wait()
    assert ((await bench.final(stored.id)).state, (await bench.task(stored.id)).error) == (
        TaskState.CANCELLED,
        "not wanted",
    )


async def test_stop_lets_running_tasks_end_and_takes_no_more(bench: Bench) -> None:
    queue, going, go_on = bench.queue(), asyncio.Event(), asyncio.Event()

    async def handler(job: Job) -> Outcome:
        going.set()
        await go_on.wait()
        return Outcome()

    worker = bench.work(queue, handler, concurrency=1)
    first, second = await queue.submit(task()), await queue.submit(task())
    await going.wait()
    stopping = asyncio.create_task(worker.stop(grace=10))
    await asyncio.sleep(0.05)
    go_on.set()
    await stopping
    states = [(await bench.task(stored.id)).state for stored in (first, second)]
    assert sorted(states) == [TaskState.COMPLETED, TaskState.CREATED]
    (left,) = await bench.claims.search({"match_all": {}})
    assert (left.value.state, left.value.attempts) == (ClaimState.OPEN, 0)


async def test_what_does_not_end_in_time_goes_back_uncounted(bench: Bench) -> None:
    queue, going = bench.queue(), asyncio.Event()

    async def handler(job: Job) -> Outcome:
        going.set()
        await asyncio.sleep(60)
        return Outcome()

    worker = bench.work(queue, handler)
    stored = await queue.submit(task())
    await going.wait()
    await worker.stop(grace=0.05)
    claim = await bench.claims.get(stored.id)
    assert claim is not None
    assert (claim.value.state, claim.value.attempts) == (ClaimState.OPEN, 0)
    assert not (await bench.task(stored.id)).state.final


async def test_no_more_than_the_slots_run_at_once(bench: Bench) -> None:
    queue, now, most = bench.queue(), 0, 0

    async def handler(job: Job) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return Outcome()

    bench.work(queue, handler, concurrency=3)
    stored = [await queue.submit(task()) for _ in range(20)]
    for one in stored:
        await bench.final(one.id)
    assert most == 3


async def test_tasks_that_only_wait_take_no_slots(bench: Bench) -> None:
    queue, done, begun = bench.queue(), asyncio.Event(), []

    async def handler(job: Job) -> Outcome:
        begun.append(job.task_id)
        await done.wait()
        return Outcome()

    bench.work(queue, handler, concurrency=2, watched=[DEPLOY])
    waiting = [(await queue.submit(task(DEPLOY))).id for _ in range(5)]
    await until(lambda: set(begun) == set(waiting))
    working = [(await queue.submit(task())).id for _ in range(3)]
    await until(lambda: len(set(begun) & set(working)) == 2)
    # The slots are taken, and still who only waits gets in.
    late = (await queue.submit(task(DEPLOY))).id
    await until(lambda: late in begun)
    await asyncio.sleep(0.2)
    assert len(set(begun) & set(working)) == 2
    done.set()
    for each in (*waiting, *working, late):
        assert (await bench.final(each)).state is TaskState.COMPLETED


async def test_a_task_that_never_got_into_the_queue_is_ended(bench: Bench) -> None:
    queue = bench.queue(lease=0.1)
    stray = await bench.tasks.create(replace(task(), create_time=1))
    foreign = await bench.tasks.create(Task(task_type=TaskType.BATCH_PREDICTION, state=TaskState.RUNNING))

    async def handler(job: Job) -> Outcome:
        return Outcome()

    bench.work(queue, handler, sweep_every=0.05)
    ended = await bench.final(stray.id)
    assert ended.state is TaskState.FAILED
    assert ended.error is not None
    assert "before it had queued the task" in ended.error
    assert (await bench.task(foreign.id)).state is TaskState.RUNNING


async def test_a_result_survives_a_cluster_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = bench.queue(lease=6.0)
    real, refusals = bench.tasks.replace, 3

    async def replace_(stored: Stored[Task], value: Task, *, refresh: bool = False) -> Stored[Task]:
        nonlocal refusals
        if value.state.final and refusals:
            refusals -= 1
            raise ClusterUnavailable("away")
        return await real(stored, value, refresh=refresh)

    monkeypatch.setattr(bench.tasks, "replace", replace_)

    async def handler(job: Job) -> Outcome:
        return Outcome(model_id=f"attempt {job.attempts}")

    bench.work(queue, handler)
    done = await bench.final((await queue.submit(task())).id)
    assert (refusals, done.model_id) == (0, "attempt 1")


async def test_beats_that_do_not_get_through_give_the_task_up_uncounted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, real, away, seen = bench.queue(), bench.claims.replace_many, asyncio.Event(), []

    async def replace_many(pairs: Any) -> Any:
        if away.is_set():
            raise ClusterUnavailable("away")
        return await real(pairs)

    monkeypatch.setattr(bench.claims, "replace_many", replace_many)

    async def handler(job: Job) -> Outcome:
        seen.append(job.attempts)
        if len(seen) == 1:
            away.set()
            try:
                await asyncio.sleep(60)
            finally:
                away.clear()
        return Outcome(model_id=f"attempt {job.attempts}")

    bench.work(queue, handler)
    done = await bench.final((await queue.submit(task())).id)
    assert (seen, done.model_id) == ([1, 1], "attempt 1")


async def test_an_idle_worker_asks_little(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    searches, real = 0, bench.claims.search

    async def search(*args: Any, **options: Any) -> Any:
        nonlocal searches
        searches += 1
        return await real(*args, **options)

    monkeypatch.setattr(bench.claims, "search", search)

    async def handler(job: Job) -> Outcome:
        return Outcome()

    bench.work(bench.queue(lease=12.0), handler, poll_every=0.2, sweep_every=5.0)
    await asyncio.sleep(2.0)
    assert 6 <= searches <= 15


async def test_a_failing_cluster_is_asked_ever_less(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def search(*args: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        raise ClusterUnavailable("away")

    monkeypatch.setattr(bench.claims, "search", search)

    async def handler(job: Job) -> Outcome:
        return Outcome()

    bench.work(bench.queue(lease=12.0), handler, poll_every=0.1, sweep_every=5.0)
    await asyncio.sleep(2.0)
    assert 3 <= tries <= 8


async def test_delete(bench: Bench) -> None:
    queue = bench.queue()
    waiting, held = await queue.submit(task()), await queue.submit(task(DEPLOY))
    job = await queue.claim_one(held.id)
    assert job is not None
    assert await queue.claim_one(held.id) is None
    with pytest.raises(Conflict, match="running state"):
        await queue.delete(held.id)
    await queue.delete(waiting.id)
    with pytest.raises(NotFound, match="Failed to find task"):
        await queue.get(waiting.id)
    await queue.finish(job, Outcome())
    await queue.delete(held.id)
    with pytest.raises(NotFound):
        await queue.delete(held.id)
    assert await bench.claims.search({"match_all": {}}) == []


async def test_a_submit_that_fails_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def create(*args: Any, **options: Any) -> Any:
        raise ClusterUnavailable("away")

    monkeypatch.setattr(bench.claims, "create", create)
    with pytest.raises(ClusterUnavailable):
        await bench.queue().submit(task())
    assert await bench.tasks.search({"match_all": {}}) == []


async def test_a_beat_whose_answer_was_lost_does_not_lose_the_task(bench: Bench) -> None:
    queue = bench.queue()
    await queue.submit(task())
    (job,) = await queue.claim([REGISTER], limit=1)
    # The write arrived, its answer did not: the holder still has the version from before.
    await bench.claims.replace(job.claim, replace(job.claim.value, beats=job.claim.value.beats + 1))
    before = job.trusted_until
    await asyncio.sleep(0.01)
    await queue.beat([job])
    assert not job.lost.is_set()
    assert job.trusted_until > before
    await job.update(progress=1.0)
