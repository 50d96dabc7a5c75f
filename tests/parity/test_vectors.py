"""The same zips on the real ML Commons and on the bridge's engine give the same vectors, shapes and names."""

from __future__ import annotations

import asyncio
import hashlib
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from bridge.engines import embedding
from bridge.engines.devices import CPU
from bridge.engines.session import ModelSpec

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

TEXTS = [
    "",
    "x",
    "a small example sentence",
    "Zürich, naïve café, 東京の天気, Привет мир, 🚲",
    "  leading   and trailing spaces  ",
    "line\nbreaks\tand tabs",
    "1234567890 " * 9,
    "the quick brown fox jumps over the lazy dog " * 12,
    "one two three four five six seven eight nine ten " * 80,
    *[f"the harbour report number {n} describes {'a long winter and ' * (n % 7)}the river" for n in range(23)],
]
SETTINGS = {
    "plugins.ml_commons.only_run_on_ml_node": False,
    "plugins.ml_commons.allow_registering_model_via_url": True,
    "plugins.ml_commons.jvm_heap_memory_threshold": 100,
    "plugins.ml_commons.disk_free_space_threshold": "-1",
}


def hash_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Reference:
    """The real ML Commons, as far as these tests need it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as answer:
            found = await answer.json(content_type=None)
            assert answer.status == 200, found
            return found

    async def task(self, task_id: str) -> dict[str, Any]:
        end = time.monotonic() + 200
        while time.monotonic() < end:
            task = await self.call("GET", f"/_plugins/_ml/tasks/{task_id}")
            if task["state"] in ("COMPLETED", "FAILED", "COMPLETED_WITH_ERROR"):
                assert task["state"] == "COMPLETED", task
                return dict(task)
            await asyncio.sleep(0.2)
        raise AssertionError("the task did not end")

    async def deployed(self, url: str, archive: Path, config: dict[str, Any], model_format: str) -> str:
        body = {
            "name": f"parity {archive.stem.replace('.', ' ')} {time.time_ns()}",
            "function_name": "TEXT_EMBEDDING",
            "model_format": model_format,
            "model_content_hash_value": hash_of(archive),
            "model_config": config,
            "url": url,
        }
        registered = await self.call("POST", "/_plugins/_ml/models/_register", body)
        model_id = str((await self.task(registered["task_id"]))["model_id"])
        await self.task((await self.call("POST", f"/_plugins/_ml/models/{model_id}/_deploy"))["task_id"])
        return model_id

    async def predict(self, model_id: str, texts: list[str]) -> list[list[dict[str, Any]]]:
        body = {"text_docs": texts, "return_number": True}
        answer = await self.call("POST", f"/_plugins/_ml/_predict/text_embedding/{model_id}", body)
        return [result["output"] for result in answer["inference_results"]]


@pytest.fixture
async def commons(reference_url: str) -> AsyncIterator[Reference]:
    timeout = aiohttp.ClientTimeout(total=240)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        reference = Reference(reference_url, session)
        await reference.call("PUT", "/_cluster/settings", {"persistent": SETTINGS})
        try:
            yield reference
        finally:
            await reference.call("PUT", "/_cluster/settings", {"persistent": dict.fromkeys(SETTINGS)})


def cosine(first: Any, second: Any) -> float:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


async def compare(commons, model_server, archive, folder, config, model_format="ONNX") -> None:
    model_id = await commons.deployed(model_server.serve(archive), archive, config, model_format)
    try:
        theirs = await commons.predict(model_id, TEXTS)
    finally:
        await commons.call("POST", f"/_plugins/_ml/models/{model_id}/_undeploy")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    model = embedding.load(folder, device=CPU, spec=ModelSpec.from_dict({**config, "model_format": model_format}))
    ours = model.run(model.encode(TEXTS))
    model.close()
    for row, tensors in zip(ours, theirs, strict=True):
        assert [output.name for output in row] == [tensor["name"] for tensor in tensors]
        for output, tensor in zip(row, tensors, strict=True):
            assert list(output.array.shape) == tensor["shape"]
            assert cosine(output.array.reshape(-1), tensor["data"]) >= 0.9999


CONFIG = {"model_type": "bert", "embedding_dimension": 384, "framework_type": "sentence_transformers"}


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "none"])
async def test_onnx_minilm(commons, model_server, minilm_onnx_zip, tmp_path, pooling):
    config = {**CONFIG, "pooling_mode": pooling, "normalize_result": pooling in ("mean", "cls")}
    await compare(commons, model_server, minilm_onnx_zip, tmp_path, config)


async def test_onnx_bge_small(commons, model_server, bge_small_onnx_zip, tmp_path):
    config = {**CONFIG, "pooling_mode": "cls", "normalize_result": True}
    await compare(commons, model_server, bge_small_onnx_zip, tmp_path, config)


async def test_torchscript_minilm(commons, model_server, minilm_torchscript_zip, tmp_path):
    await compare(commons, model_server, minilm_torchscript_zip, tmp_path, CONFIG, "TORCH_SCRIPT")
