"""Q10: the queue against a model of it, over random histories of several nodes, crashes and stopped clocks."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Claim, ClaimState, Task
from bridge.errors import ClaimLost, Conflict
from bridge.store.in_memory import InMemoryDocuments
from bridge.tasks.job import Job, Outcome
from bridge.tasks.queue import TaskQueue

LEASE = 12.0
TYPES = (TaskType.REGISTER_MODEL, TaskType.DEPLOY_MODEL)
NODES = ("a", "b", "c")
STEPS = {"examples": 200, "each": 50}


@dataclass
class Known:
    """What the model knows of one task."""

    taker: Job | None = None
    holder: Job | None = None
    final: TaskState | None = None
    takes: int = 0


class QueueMachine(RuleBasedStateMachine):
    """`taker` is the job that wrote the task last as a holder; `holder` the job that the claim names."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.time = 1000.0
        self.known: dict[str, Known] = {}
        self.jobs: list[tuple[str, Job]] = []

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    @initialize(instant=st.booleans(), seed=st.integers(0, 2**16))
    def start(self, instant: bool, seed: int) -> None:
        # Ids of its own making keep a history repeatable.
        numbers = itertools.count(100_000)
        self.tasks = InMemoryDocuments(Task, instant=instant, ids=lambda: f"t{next(numbers)}")
        self.claims = InMemoryDocuments(Claim, instant=instant)
        self.rng = random.Random(seed)
        self.queues = {node: self.new_queue(node) for node in NODES}

    def new_queue(self, node: str) -> TaskQueue:
        return TaskQueue(
            self.tasks,
            self.claims,
            node_id=node,
            lease=LEASE,
            clock=lambda: self.time,
            now=lambda: int(self.time * 1000),
            rng=self.rng,
        )

    def teardown(self) -> None:
        if hasattr(self, "queues"):
            self.everything_ends()
        self.runner.close()

    def everything_ends(self) -> None:
        """All nodes die, one new one comes: within attempts x lease every task is final and the queue empty."""
        self.jobs = []
        last = self.new_queue("z")
        for _ in range(60):
            self.time += 4.0
            self.do(self.tasks.refresh())
            self.do(self.claims.refresh())
            self.do(last.sweep(TYPES))
            self.do(self.claims.refresh())
            for job in self.do(last.claim(TYPES, limit=1000)):
                self.known[job.task_id].taker = job
                self.do(last.finish(job, Outcome()))
        assert self.do(self.claims.search({"match_all": {}})) == []
        for task_id in self.known:
            stored = self.do(self.tasks.get(task_id))
            assert stored is None or stored.value.state.final

    # What clients do

    @rule(node=st.sampled_from(NODES), kind=st.sampled_from(TYPES))
    def submit(self, node: str, kind: TaskType) -> None:
        stored = self.do(self.queues[node].submit(Task(task_type=kind, state=TaskState.CREATED), input={"n": 1}))
        self.known[stored.id] = Known()

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.known)))
        stored = self.do(self.queues["a"].cancel(task_id))
        known = self.known[task_id]
        known.final = known.final or TaskState.CANCELLED
        known.holder = None
        assert stored.value.state is known.final

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[task_id]
        try:
            self.do(self.queues["b"].delete(task_id))
        except Conflict:
            assert known.final is None
            assert known.holder is not None or known.takes
        else:
            assert known.final is not None or known.holder is None
            del self.known[task_id]

    # What nodes do

    @rule(node=st.sampled_from(NODES), limit=st.integers(1, 5))
    def claim(self, node: str, limit: int) -> None:
        jobs = self.do(self.queues[node].claim(TYPES, limit=limit))
        assert len(jobs) <= limit
        for job in jobs:
            known = self.known[job.task_id]
            assert known.final is None
            assert known.holder is None
            known.taker = known.holder = job
            known.takes += 1
            assert job.attempts <= known.takes
            assert job.input == {"n": 1}
            self.jobs.append((node, job))

    @precondition(lambda self: self.jobs)
    @rule(node=st.sampled_from(NODES))
    def beat(self, node: str) -> None:
        mine = [job for owner, job in self.jobs if owner == node]
        self.do(self.queues[node].beat(mine))
        for job in mine:
            known = self.known.get(job.task_id)
            held = known is not None and known.holder is job
            assert held or job.lost.is_set() or job.ended
            if held and not job.lost.is_set():
                assert job.trusted_until > self.time

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), state=st.sampled_from([TaskState.COMPLETED, TaskState.FAILED]))
    def finish(self, data: st.DataObject, state: TaskState) -> None:
        node, job = self.take_job(data)
        known = self.known.get(job.task_id)
        allowed = known is not None and known.final is None and known.taker is job
        try:
            self.do(self.queues[node].finish(job, Outcome(state=state, error="e")))
        except ClaimLost:
            assert not allowed
        else:
            assert allowed
            assert known is not None
            known.final, known.holder = state, None

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        node, job = data.draw(st.sampled_from(self.jobs))
        known = self.known.get(job.task_id)
        trusted = not job.lost.is_set() and self.time <= job.trusted_until
        allowed = known is not None and known.final is None and known.taker is job and trusted
        try:
            self.do(job.update(progress=0.5))
        except ClaimLost:
            assert not allowed
            assert job.lost.is_set()
        else:
            assert allowed, node

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), counted=st.booleans())
    def release(self, data: st.DataObject, counted: bool) -> None:
        node, job = self.take_job(data)
        known = self.known.get(job.task_id)
        last = counted and job.attempts >= 3
        allowed = known is not None and known.final is None and known.taker is job
        try:
            self.do(self.queues[node].release(job, counted=counted, reason="r"))
        except ClaimLost:
            assert last
            assert not allowed
            return
        if last:
            assert allowed
            assert known is not None
            known.final, known.holder = TaskState.FAILED, None
        elif known is not None and known.holder is job:
            known.holder = None

    @precondition(lambda self: len(self.jobs) > 2)
    @rule(node=st.sampled_from(NODES))
    def crash(self, node: str) -> None:
        self.jobs = [(owner, job) for owner, job in self.jobs if owner != node]
        self.queues[node] = self.new_queue(node)

    @rule(node=st.sampled_from(NODES))
    def sweep(self, node: str) -> None:
        before = {task_id: known.holder for task_id, known in self.known.items() if known.holder is not None}
        self.do(self.queues[node].sweep(TYPES))
        for task_id, job in before.items():
            claim = self.do(self.claims.get(task_id))
            if claim is not None and claim.value.state is ClaimState.HELD:
                continue
            # Taken away: then this holder must have stopped trusting its lease already.
            assert self.time > job.trusted_until
            self.known[task_id].holder = None
            if claim is None:
                assert job.attempts == 3
                self.known[task_id].final = TaskState.FAILED

    @rule(node=st.sampled_from(NODES), other=st.sampled_from(NODES))
    def stall(self, node: str, other: str) -> None:
        """Nobody beats for a lease while `node` looks on; then `other` takes what is open again."""
        for _ in range(4):
            self.refresh()
            self.sweep(node)
            self.time += 5.0
        self.refresh()
        self.claim(other, 5)

    # What time and the cluster do

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0, 11.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule()
    def refresh(self) -> None:
        self.do(self.tasks.refresh())
        self.do(self.claims.refresh())

    @invariant()
    def what_is_final_stays_so(self) -> None:
        for task_id, known in self.known.items():
            stored = self.do(self.tasks.get(task_id))
            assert stored is not None
            assert (stored.value.state if stored.value.state.final else None) is known.final
            if known.final is not None:
                assert self.do(self.claims.get(task_id)) is None

    def take_job(self, data: st.DataObject) -> tuple[str, Job]:
        return self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=STEPS["examples"],
    stateful_step_count=STEPS["each"],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
