"""Where a predict runs, by `task_dispatch_policy`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference
from file_server import FileServer
from model_pair import Pair

from bridge.domain.tensor import LocalInput, ModelTensor

TEXTS = {"text_docs": ["abc"]}


class Slow(FakeInference):
    """Predicts wait until `open` is set; `waiting` counts them, `came` is released by each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.open = asyncio.Event()
        self.came = asyncio.Semaphore(0)
        self.waiting = 0

    async def predict(self, model_id: str, input: LocalInput, **options: Any) -> list[list[ModelTensor]]:
        self.waiting += 1
        self.came.release()
        await self.open.wait()
        return await super().predict(model_id, input, **options)


@pytest.fixture
async def pair(tmp_path: Path, model_server: FileServer) -> AsyncIterator[Pair]:
    made = Pair(tmp_path, model_server)
    made.engines = [Slow(), Slow()]
    async with made.stack:
        yield made


async def _running(pair: Pair, policy: str) -> tuple[int, int]:
    """How many of four calls to the first bridge each of two nodes runs."""
    one, two = await pair.start(0), await pair.start(1)
    pair.set(task_dispatch_policy=policy)
    model_id = await pair.model(one)
    deployed = await one.call("POST", f"/models/{model_id}/_deploy")
    await one.ended(deployed.body["task_id"])
    assert two.runtime.reconciler is not None
    first, second = pair.engines
    assert isinstance(first, Slow) and isinstance(second, Slow)
    second.came = first.came
    calls = []
    async with asyncio.timeout(20):
        for _ in range(4):
            calls.append(asyncio.ensure_future(one.call("POST", f"/models/{model_id}/_predict", TEXTS)))
            await first.came.acquire()
    for engine in (first, second):
        engine.open.set()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 4
    return first.waiting, second.waiting


async def test_a_predict_runs_where_it_arrives(pair: Pair) -> None:
    assert await _running(pair, "round_robin") == (4, 0)


async def test_a_predict_runs_where_least_is_under_way(pair: Pair) -> None:
    assert await _running(pair, "least_load") == (2, 2)
