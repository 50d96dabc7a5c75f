"""Models written by the real ML Commons run here, and models written here run there, on one data folder.

The real plugin and a bridge share the indices `.plugins-ml-*` of one node, one at work at a time; the plugin's own
sync-up, which knows nothing of bridge nodes, is off.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from file_server import FileServer
from local_node import LocalNode
from model_bridge import ML, ModelBridge, cluster_bridge
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(300)]
PREFIX = ".plugins-ml-"
TEXTS = ["a cat sat on the mat", "hello world", "dog"]
CHUNK = 10_000_000


class Client:
    """One of the two servers."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        given = {"json": body} if body is not None else {}
        async with self._session.request(method, f"{self._url}{ML}{path}", **given, **options) as answer:
            told = await answer.json()
            assert answer.status == 200, (method, path, told)
            return told

    async def done(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = {}
        for _ in range(900):
            task = await self.call("GET", f"/tasks/{task_id}")
            if task["state"] not in ("CREATED", "RUNNING"):
                break
            await asyncio.sleep(0.1)
        assert task["state"] == "COMPLETED", task
        return task

    async def register(self, body: dict[str, Any]) -> str:
        return str((await self.done((await self.call("POST", "/models/_register", body))["task_id"]))["model_id"])

    async def vectors(self, model: str) -> list[np.ndarray[Any, Any]]:
        """Deploy, ask and undeploy."""
        await self.done((await self.call("POST", f"/models/{model}/_deploy"))["task_id"])
        told = await self.call("POST", f"/models/{model}/_predict", {"text_docs": TEXTS})
        await self.call("POST", f"/models/{model}/_undeploy")
        return [np.array(each["output"][0]["data"]) for each in told["inference_results"]]

    async def upload(self, meta: dict[str, Any], content: bytes) -> str:
        model = str((await self.call("POST", "/models/_register_meta", meta))["model_id"])
        headers = {"Content-Type": "application/json"}
        for number in reversed(range(meta["total_chunks"])):
            piece = content[number * CHUNK : (number + 1) * CHUNK]
            url = f"{self._url}{ML}/models/{model}/upload_chunk/{number}"
            async with self._session.post(url, data=io.BytesIO(piece), headers=headers) as answer:
                assert answer.status == 200, await answer.text()
        return model


def same(first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]) -> bool:
    return all(np.allclose(one, other, atol=1e-5) for one, other in zip(first, second, strict=True))


async def test_models_travel_both_ways(
    private_node: Callable[..., LocalNode], model_server: FileServer, tmp_path: Path
) -> None:
    node = await asyncio.to_thread(
        private_node, "ml", settings={"plugins.ml_commons.sync_up_job_interval_in_seconds": 0}
    )
    content = _two_chunks(tiny_zip(tmp_path / "tiny"))
    body = tiny_body(model_server.serve_bytes("model.zip", content), content)
    async with aiohttp.ClientSession() as session:
        plugin = Client(node.url, session)
        theirs = await plugin.register({**body, "name": "written there"})
        expected = await plugin.vectors(theirs)
        async with cluster_bridge(node.url, PREFIX, tmp_path) as bridge:
            here = Client(bridge.url, session)
            assert same(await here.vectors(theirs), expected)
            ours = await here.register({**body, "name": "written here"})
            uploaded = await here.upload(_meta(body, content), content)
            assert await bridge.runtime.removal.sweep() == []
            assert await _listed(bridge) == {theirs, ours, uploaded}
            await here.call("DELETE", f"/models/{theirs}")
        for model in (ours, uploaded):
            assert same(await plugin.vectors(model), expected)
        again = await plugin.call("GET", f"/models/{uploaded}")
        assert again["model_content_hash_value"] == hashlib.sha256(content).hexdigest()
        for gone in (theirs, f"{theirs}_0", f"{theirs}_1"):
            async with session.get(f"{node.url}{ML}/models/{gone}") as answer:
                assert answer.status == 404


def _two_chunks(archive: bytes) -> bytes:
    """The zip with more bytes in it than one chunk takes."""
    grown = io.BytesIO(archive)
    with zipfile.ZipFile(grown, "a") as opened:
        opened.writestr("padding.bin", random.Random(0).randbytes(CHUNK))
    return grown.getvalue()


def _meta(body: dict[str, Any], content: bytes) -> dict[str, Any]:
    return {
        "name": "uploaded here",
        "function_name": "TEXT_EMBEDDING",
        "model_format": body["model_format"],
        "model_config": body["model_config"],
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "model_content_size_in_bytes": len(content),
        "total_chunks": -(-len(content) // CHUNK),
    }


async def _listed(bridge: ModelBridge) -> set[str]:
    found = (await bridge.call("POST", "/models/_search", {"size": 100})).body
    return {hit["_id"] for hit in found["hits"]["hits"]}
