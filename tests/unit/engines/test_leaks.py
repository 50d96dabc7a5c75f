"""Nothing grows: models that come and go, and many calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tiny_models
from tiny_models import docs

from bridge.engines.session import ModelSpec
from bridge.models.inference import InferenceProcess

MIB = 1 << 20


@pytest.fixture
async def inference():
    process = InferenceProcess()
    await process.start()
    yield process
    await process.stop()


async def resident(inference: InferenceProcess) -> int:
    return int((await inference.stats())["rss_bytes"])


async def rounds(inference: InferenceProcess, folder, count: int) -> None:
    for n in range(count):
        await inference.load(f"m{n}", folder, ModelSpec())
        await inference.predict(f"m{n}", docs("the cat sat", "on the mat"))
        assert await inference.unload(f"m{n}")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_hundred_deployments_leave_nothing_behind(inference, tmp_path):
    folder = tiny_models.write_onnx(tmp_path)
    await rounds(inference, folder, 60)
    before = await resident(inference)
    await rounds(inference, folder, 200)
    assert (await resident(inference)) - before < 4 * MIB
    assert (await inference.stats())["models"] == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_predicts_leave_nothing_behind(inference, tmp_path):
    await inference.load("m", tiny_models.write_onnx(tmp_path), ModelSpec())
    wanted = {n: (await inference.predict("m", docs("cat " * n)))[0][0].data for n in range(20)}

    async def caller(share: int, calls: int) -> None:
        for n in range(calls):
            size = (share * 7 + n) % 20
            tensor = (await inference.predict("m", docs("cat " * size)))[0][0]
            np.testing.assert_allclose(tensor.data, wanted[size], atol=1e-6)

    await asyncio.gather(*(caller(share, 200) for share in range(10)))
    before = await resident(inference)
    await asyncio.gather(*(caller(share, 1000) for share in range(10)))
    assert (await resident(inference)) - before < 4 * MIB
    assert (await inference.stats())["models"]["m"]["failures"] == 0
