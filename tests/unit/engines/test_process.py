"""The inference process as the application sees it: answers, refusals, deaths."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_models
from tiny_models import docs

from bridge.domain.names import FrameworkType, ModelFormat, PoolingMode
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import ModelSpec
from bridge.errors import TooManyRequests, Unavailable
from bridge.models.inference import InferenceProcess, ProcessOptions, child_environment

TORCH = ModelSpec(model_format=ModelFormat.TORCH_SCRIPT)


@pytest.fixture
async def inference() -> AsyncIterator[InferenceProcess]:
    process = InferenceProcess(ProcessOptions(limits={"max_waiting": 64}, allow_torchscript=True))
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_models.write_onnx(tmp_path / "tiny")


async def eventually(condition, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition lies in another process
            await asyncio.sleep(0.01)


async def test_a_loaded_model_answers_texts_in_order(inference, folder):
    loaded = await inference.load("m", folder, ModelSpec(embedding_dimension=384))
    assert (loaded.device, loaded.dimension, loaded.expected_dimension) == ("cpu", tiny_models.DIMENSION, 384)
    assert loaded.memory_bytes > 0
    texts = ["the cat", "", "ünïcode 東京", *["red " * n for n in range(40)]]
    rows = await inference.predict("m", docs(*texts))
    again = [(await inference.predict("m", docs(text)))[0] for text in texts]
    for row, other in zip(rows, again, strict=True):
        assert (row[0].name, row[0].data_type, row[0].shape) == ("sentence_embedding", "FLOAT32", (6,))
        np.testing.assert_allclose(row[0].data, other[0].data, atol=1e-6)
    stats = await inference.stats()
    assert stats["models"]["m"]["texts"] == 2 * len(texts) and stats["rss_bytes"] > 1 << 20


async def test_many_callers_at_once_get_their_own_rows(inference, folder):
    await inference.load("m", folder, ModelSpec())
    words = tiny_models.WORDS
    texts = [[f"{words[n % len(words)]} {words[m]}" for m in range(n % 4)] for n in range(60)]
    alone = {text: (await inference.predict("m", docs(text)))[0][0].data for call in texts for text in call}
    answers = await asyncio.gather(*(asked(inference, call) for call in texts))
    for call, rows in zip(texts, answers, strict=True):
        for text, row in zip(call, rows, strict=True):
            np.testing.assert_allclose(row[0].data, alone[text], atol=1e-6)


async def asked(inference, texts):
    while True:
        try:
            return await inference.predict("m", docs(*texts))
        except TooManyRequests:
            await asyncio.sleep(0.005)


async def test_filtered_tensors_stay_as_empty_places(inference, tmp_path):
    await inference.load("t", tiny_models.write_torchscript(tmp_path, takes_dict=True), TORCH)
    every = (await inference.predict("t", docs("the cat")))[0]
    assert [t.name for t in every] == ["input_ids", "token_embeddings", "sentence_embedding", "attention_mask"]
    assert every[0].data_type == "INT64" and every[1].shape == (4, 6)
    wanted = docs("a", target_response=("input_ids",), target_response_positions=(2, 9))
    some = (await inference.predict("t", wanted))[0]
    assert [t.name for t in some] == ["input_ids", None, "sentence_embedding", None]


async def test_prefixes_of_the_kind_of_call_are_used(inference, folder):
    await inference.load("m", folder, ModelSpec(query_prefix="red ", passage_prefix="blue "))
    found = [(await inference.predict("m", docs("cat", kind=kind)))[0][0].data for kind in ("query", "passage", None)]
    wanted = (await inference.predict("m", docs("red cat", "blue cat", "cat")))[:3]
    for vector, row in zip(found, wanted, strict=True):
        np.testing.assert_allclose(vector, row[0].data, atol=1e-6)


async def test_broken_files_fail_their_own_load_and_nothing_else(inference, folder, tmp_path):
    await inference.load("good", folder, ModelSpec())
    broken = tiny_models.write_onnx(tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"\x08garbage" * 100)
    cut = tiny_models.write_torchscript(tmp_path / "cut", takes_dict=True)
    tiny_models.changed(cut / "model.pt", lambda data: data[:500])
    for path, spec in ((broken, ModelSpec()), (cut, TORCH), (tmp_path / "nowhere", ModelSpec())):
        with pytest.raises(EngineFault) as caught:
            await inference.load("bad", path, spec)
        assert caught.value.code is FaultCode.LOAD_FAILED
        assert str(tmp_path) not in caught.value.reason and "Traceback" not in caught.value.reason
    assert len(await inference.predict("good", docs("still here"))) == 1
    assert inference.restarts == 0


async def test_a_failed_load_leaves_the_model_it_would_have_replaced(inference, folder, tmp_path):
    await inference.load("m", folder, ModelSpec())
    with pytest.raises(EngineFault):
        await inference.load("m", tmp_path / "nowhere", ModelSpec())
    assert (await inference.predict("m", docs("cat")))[0][0].shape == (6,)
    await inference.load("m", folder, ModelSpec(pooling_mode=PoolingMode.MAX))
    assert (await inference.predict("m", docs("cat")))[0][0].shape == (1, 6)


async def test_torchscript_is_refused_unless_allowed(tmp_path):
    process = InferenceProcess()
    await process.start()
    try:
        with pytest.raises(EngineFault, match="not allowed"):
            await process.load("t", tiny_models.write_torchscript(tmp_path, takes_dict=True), TORCH)
    finally:
        await process.stop()


async def test_huggingface_torchscript_is_pooled(inference, tmp_path):
    spec = ModelSpec(
        model_format=ModelFormat.TORCH_SCRIPT,
        framework_type=FrameworkType.HUGGINGFACE_TRANSFORMERS,
        normalize_result=True,
    )
    await inference.load("t", tiny_models.write_torchscript(tmp_path, takes_dict=False), spec)
    tensor = (await inference.predict("t", docs("the cat")))[0][0]
    assert tensor.shape == (1, 6) and np.linalg.norm(tensor.data) == pytest.approx(1, abs=1e-5)


async def test_unloaded_and_unknown_models_are_not_loaded(inference, folder):
    await inference.load("m", folder, ModelSpec())
    assert await inference.unload("m") is True
    assert await inference.unload("m") is False
    with pytest.raises(EngineFault) as caught:
        await inference.predict("m", docs("x"))
    assert caught.value.code is FaultCode.NOT_LOADED


async def test_a_full_queue_is_429_for_the_callers_beyond_it(inference, folder):
    await inference.load("m", folder, ModelSpec())
    calls = [inference.predict("m", docs(*["cat " * 500] * 40)) for _ in range(12)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, TooManyRequests)]
    assert refused and len(refused) + sum(isinstance(answer, list) for answer in answers) == 12
    assert len((await inference.predict("m", docs("later")))[0]) == 1


async def test_what_a_cancelled_caller_asked_for_is_dropped(inference, folder):
    await inference.load("m", folder, ModelSpec())
    calls = [asyncio.create_task(inference.predict("m", docs(*["cat " * 500] * 2000)))]
    await eventually(lambda: waiting_texts(inference))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    async def idle() -> bool:
        return not await waiting_texts(inference)

    await eventually(idle)
    assert (await inference.stats())["models"]["m"]["texts"] < 2000
    assert len(await inference.predict("m", docs("next"))) == 1


async def waiting_texts(inference) -> int:
    return (await inference.stats())["models"]["m"]["waiting_texts"]


async def test_a_call_that_takes_too_long_is_unavailable(inference, folder):
    await inference.load("m", folder, ModelSpec())
    with pytest.raises(Unavailable):
        await inference.predict("m", docs(*["cat " * 500] * 3000), timeout=0.01)
    assert len(await inference.predict("m", docs("next"))) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_killed_process_comes_back_and_says_so(folder, number):
    deaths: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    process = InferenceProcess(on_exit=deaths.put)
    await process.start()
    try:
        await process.load("m", folder, ModelSpec())
        call = asyncio.create_task(process.predict("m", docs(*["cat " * 500] * 3000)))
        await eventually(lambda: waiting_texts(process))
        first = process.pid
        os.kill(first, number)
        with pytest.raises(Unavailable, match="died"):
            await call
        assert await asyncio.wait_for(deaths.get(), 30) == frozenset()
        assert process.alive and process.pid != first and process.restarts == 1
        await process.load("m", folder, ModelSpec())
        assert len(await process.predict("m", docs("again"))) == 1
    finally:
        await process.stop()


async def test_a_crash_while_loading_names_the_model(folder):
    deaths: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    process = InferenceProcess(on_exit=deaths.put)
    await process.start()
    try:
        loading = asyncio.create_task(process.load("suspect", folder, ModelSpec()))
        await asyncio.sleep(0)  # the request is on its way; the file takes far longer than the signal
        assert "suspect" in process._link.loading
        os.kill(process.pid, signal.SIGSEGV)
        with pytest.raises(Unavailable):
            await loading
        assert await asyncio.wait_for(deaths.get(), 30) == frozenset({"suspect"})
        await process.load("other", folder, ModelSpec())
    finally:
        await process.stop()


async def test_calls_while_it_is_down_are_unavailable_at_once(folder):
    process = InferenceProcess()
    with pytest.raises(Unavailable, match="not running"):
        await process.predict("m", docs("x"))
    await process.start()
    await process.stop()
    with pytest.raises(Unavailable):
        await process.predict("m", docs("x"))


async def test_stopping_finishes_accepted_calls_first_when_asked(folder):
    process = InferenceProcess()
    await process.start()
    await process.load("m", folder, ModelSpec())
    call = asyncio.create_task(process.predict("m", docs(*["cat " * 50] * 300)))
    await asyncio.sleep(0)
    await process.stop(drain=30)
    assert len(await call) == 300


def test_the_child_ends_with_its_parent(tmp_path):
    script = """
        import asyncio, os
        from bridge.models.inference import InferenceProcess
        async def main():
            process = InferenceProcess()
            await process.start()
            await process.stats()
            print(process.pid, flush=True)
            os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    child = int(done.stdout.split()[-1])
    with contextlib.suppress(psutil.NoSuchProcess):
        orphan = psutil.Process(child)
        orphan.wait(10)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_the_child_gets_no_secrets():
    environment = {
        "PATH": "/bin", "BRIDGE_CLUSTER_PASSWORD": "s3cret", "AWS_SECRET_ACCESS_KEY": "s3cret", "HTTPS_PROXY": "s3cret",
    }  # fmt: skip
    assert "s3cret" not in str(child_environment(environment))
    assert child_environment(environment)["PATH"] == "/bin"


async def test_devices_are_explained(inference):
    lines = await inference.devices()
    assert {line["level"] for line in lines} <= {"ok", "warning"}
    assert any(line["text"].startswith("CPU:") for line in lines)
    assert any(line["text"].startswith("ONNX:") for line in lines)


async def test_half_a_surrogate_pair_travels_as_a_replacement(inference, folder):
    await inference.load("m", folder, ModelSpec())
    assert (await inference.predict("m", docs("cat \ud83d")))[0][0].shape == (6,)
