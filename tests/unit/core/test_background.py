from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from bridge.background import Background
from bridge.errors import Unavailable


async def test_close_ends_what_runs() -> None:
    background = Background()
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background.start(forever(), name="forever")
    await asyncio.sleep(0)
    await background.close()
    assert ended.is_set()
    assert len(background) == 0


async def test_a_failure_is_logged_with_its_name() -> None:
    background = Background()

    async def fails() -> None:
        raise ValueError("no")

    with capture_logs() as lines:
        task = background.start(fails(), name="failing")
        with pytest.raises(ValueError, match="no"):
            await task
    assert [line["task"] for line in lines if line["action"] == "background.failed"] == ["failing"]


async def test_a_failure_that_the_bridge_knows_leaves_no_traceback_in_the_log() -> None:
    background = Background()

    async def fails() -> None:
        raise Unavailable("the cluster is away")

    with capture_logs() as lines, pytest.raises(Unavailable):
        await background.start(fails(), name="failing")
    [line] = [line for line in lines if line["action"] == "background.failed"]
    assert line["reason"] == "the cluster is away"
    assert "exc_info" not in line


async def test_settled_says_whether_all_have_ended() -> None:
    background = Background()
    gate = asyncio.Event()
    background.start(gate.wait(), name="gate")  # type: ignore[arg-type]
    assert not await background.settled(0.01)
    gate.set()
    assert await background.settled(5)
    assert await background.settled(0)
