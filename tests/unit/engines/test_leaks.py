"""Nothing grows: models that come and go, and many calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_folders
import tiny_functions
import tiny_models
from tiny_models import docs

from bridge.domain.names import FunctionName, ModelFormat
from bridge.domain.tensor import QuestionAnsweringInput, TextSimilarityInput
from bridge.engines.session import ModelSpec
from bridge.models.inference import InferenceProcess, ProcessOptions

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


PAIR = TextSimilarityInput(query_text="where is paris", text_docs=("in the city", "dog"))
QUESTION = QuestionAnsweringInput(question="where", context="hello world " * 60 + "paris the city")
ONNX, SCRIPT, FOLDER = ModelFormat.ONNX, ModelFormat.TORCH_SCRIPT, ModelFormat.SAFETENSORS
SPARSE, TOKENIZE = FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE
SIMILARITY, ANSWERING = FunctionName.TEXT_SIMILARITY, FunctionName.QUESTION_ANSWERING


def every_function(folder: Path) -> list[tuple[Path, ModelSpec, Any]]:
    """Models of each function and format: folder, spec, what to ask."""
    texts = docs("the cat sat on the mat", "paris")
    made = [
        (tiny_functions.write_sparse_onnx(folder / "a", logits=True), SPARSE, ONNX, texts),
        (tiny_functions.write_tokenize(folder / "b", idf={"cat": 2}), TOKENIZE, ONNX, texts),
        (tiny_functions.write_cross_onnx(folder / "c"), SIMILARITY, ONNX, PAIR),
        (tiny_functions.write_answers_onnx(folder / "d"), ANSWERING, ONNX, QUESTION),
        (tiny_functions.write_sparse_script(folder / "e"), SPARSE, SCRIPT, texts),
        (tiny_folders.write(folder / "f", "Model"), FunctionName.TEXT_EMBEDDING, FOLDER, texts),
        (tiny_folders.write(folder / "g", "ForQuestionAnswering"), ANSWERING, FOLDER, QUESTION),
    ]
    return [(path, ModelSpec(function_name=f, model_format=m), asked) for path, f, m, asked in made]


@pytest.mark.timeout(300)
async def test_models_of_every_function_and_format_leave_nothing_behind(tmp_path):
    models = every_function(tmp_path)
    process = InferenceProcess(ProcessOptions(allow_torchscript=True))
    await process.start()

    async def rounds(count: int) -> None:
        for _ in range(count):
            for number, (folder, spec, asked) in enumerate(models):
                await process.load(f"m{number}", folder, spec)
                assert (await process.predict(f"m{number}", asked))[0]
                assert await process.unload(f"m{number}")

    try:
        await rounds(4)
        before = await resident(process)
        await rounds(8)
        assert (await resident(process)) - before < 8 * MIB
    finally:
        await process.stop()
