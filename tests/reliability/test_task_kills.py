"""Workers that are killed, stopped and doubled: nothing is lost, nothing is completed twice, nothing stays stuck."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import Any

import pytest

from bridge.domain.names import TaskState

pytestmark = [pytest.mark.reliability, pytest.mark.integration, pytest.mark.timeout(240)]

SWEEP = 1.0
START = 10.0
"""Seconds that a new process may take on a busy machine before it works."""


@pytest.mark.slow
async def test_q1_kills_every_second_for_a_minute(fleet: Any) -> None:
    slots, tasks, kills = 4, 1000, 0
    for _ in range(4):
        fleet.start(concurrency=slots, max_attempts=20)
    ids = await fleet.submit(600, seconds=[0.1, 0.9])
    ends = time.monotonic() + 60
    while (tick := time.monotonic()) < ends:
        fleet.kill(random.choice(list(fleet.processes)))
        kills += 1
        fleet.start(concurrency=slots, max_attempts=20)
        # The rest comes in while workers die, so that there is work until the last kill and after it.
        ids += await fleet.submit(min(8, tasks - len(ids)), seconds=[0.1, 0.9])
        await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - tick)))
    ids += await fleet.submit(tasks - len(ids), seconds=[0.1, 0.9])
    last_kill = time.monotonic()
    waiting = await fleet.open_claims()
    await fleet.settled(fleet.lease + SWEEP + START + waiting * 0.9 / slots)
    sys.stderr.write(
        f"{kills} kills, {waiting} open at the last, settled {time.monotonic() - last_kill:.1f} s after it\n"
    )
    started, done = await fleet.tally()
    sys.stderr.write(f"executions {started.total()}, accepted results seen {done.total()}\n")
    assert len(set(ids)) == tasks
    assert await fleet.states(ids) == {"COMPLETED": tasks}
    assert set(started) == set(ids)
    assert max(done.values()) == 1
    assert started.total() <= tasks + kills * slots


async def test_q2_the_late_write_of_a_stopped_holder_is_refused(fleet: Any) -> None:
    (task,) = await fleet.submit(seconds=[4.0, 4.0])
    holder = fleet.start()
    await fleet.until(60, lambda: fleet.runs.get(f"{task}-1"))
    fleet.signal(holder, signal.SIGSTOP)
    other = fleet.start()
    await fleet.settled(fleet.lease + SWEEP + START + 10)
    before = await fleet.stores.tasks.get(task)
    assert before.value.model_id == "attempt-2"
    assert before.value.response == {"node": other}
    fleet.signal(holder, signal.SIGCONT)
    late = await fleet.until(20, lambda: fleet.runs.get(f"{task}-late"))
    assert "version conflict" in late.value["refused"]
    fleet.kill(holder, signal.SIGTERM)
    assert await fleet.stores.tasks.get(task) == before
    assert await fleet.run_ids(task) == [f"{task}-1", f"{task}-2", f"{task}-2-done", f"{task}-late"]


async def test_q3_two_bridges_share_a_cluster(fleet: Any) -> None:
    one = fleet.start("one", submit=150, sweep=0.2)
    fleet.start("two", submit=150, sweep=0.2)

    async def third_done() -> bool:
        return (await fleet.tally())[1].total() >= 100

    await fleet.until(60, third_done)
    started, done = await fleet.tally()
    nodes = {stored.value["node"] for stored in await fleet.runs.search({"match_all": {}}, size=1000)}
    assert len(nodes) == 2
    fleet.kill(one)
    await asyncio.sleep(0.5)
    known = [stored.id for stored in await fleet.stores.tasks.search({"match_all": {}}, size=1000)]
    await fleet.settled(fleet.lease + SWEEP + 40)
    started, done = await fleet.tally()
    states = await fleet.states(known)
    # The killed one may have died between a task and its claim: that task was acknowledged to nobody.
    assert states["COMPLETED"] >= len(known) - 1
    assert max(done.values()) == 1
    assert started.total() <= len(known) + 4


async def test_q9_a_poison_task_ends_and_harms_no_other(fleet: Any) -> None:
    (poison,) = await fleet.submit(poison=True)
    others = await fleet.submit(20)
    fleet.start(concurrency=2)

    async def empty() -> bool:
        for node, process in list(fleet.processes.items()):
            if process.poll() is not None:
                del fleet.processes[node]
                fleet.start(concurrency=2)
        return not await fleet.open_claims()

    await fleet.until(100, empty)
    ended = await fleet.stores.tasks.get(poison)
    assert ended.value.state is TaskState.FAILED
    assert "stopped while running the task (attempt 3 of 3)" in ended.value.error
    assert await fleet.run_ids(poison) == [f"{poison}-{n}" for n in (1, 2, 3)]
    assert await fleet.states(others) == {"COMPLETED": 20}
