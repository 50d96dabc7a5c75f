"""The same requests to the bridge and to the real ML Commons: status, error type, reason, shape and key order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import real_models
from fake_inference import register_body, zipped
from file_server import FileServer
from model_bridge import ML, cluster_bridge
from server_fixtures import Cluster

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(300)]

_SKIPPED = ("_seq_no", "_version", "_shards", "_index", "took", "max_score", "auto_redeploy_retry_times")


@dataclass
class Side:
    """One of the two servers, with what stands for its own ids."""

    url: str
    session: aiohttp.ClientSession
    names: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        path = path.format(**self.names)
        options: dict[str, Any] = {}
        if isinstance(body, str):
            options = {"data": body, "headers": {"Content-Type": "application/json"}}
        elif body is not None:
            options = {"json": self._filled(body)}
        async with self.session.request(method, f"{self.url}{ML}{path}", **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ended(self, task_id: str) -> Any:
        for _ in range(600):
            status, task = await self.call("GET", f"/tasks/{task_id}")
            if status == 200 and task["state"] not in ("CREATED", "RUNNING"):
                return task
            await asyncio.sleep(0.1)
        raise AssertionError(f"task did not end: {task}")

    async def deployed(self, model: str) -> None:
        """Wait until the document says so everywhere: on a busy machine the reference's lags behind its task."""
        for _ in range(300):
            _, found = await self.call("GET", f"/models/{model}")
            counts = found.get("planning_worker_node_count"), found.get("current_worker_node_count")
            if found.get("model_state") == "DEPLOYED" and counts[0] == counts[1]:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not deployed: {found}")

    def plain(self, value: Any, key: str = "") -> Any:
        """With own ids, times and the like replaced by their kind."""
        if isinstance(value, dict):
            return {self.plain(k): self.plain(v, k) for k, v in value.items() if k not in _SKIPPED}
        if isinstance(value, list):
            return [self.plain(item, key) for item in value]
        if key.endswith("_time"):
            return "<time>"
        if key in ("task_id", "model_id", "model_group_id", "worker_node", "planning_worker_nodes"):
            return f"<{key}>"
        if isinstance(value, float):
            return round(value, 3)
        return self._named(value) if isinstance(value, str) else value

    def _named(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(value, f"<{name}>")
        return text

    def _filled(self, body: Any) -> Any:
        if isinstance(body, dict):
            return {key: self._filled(value) for key, value in body.items()}
        if isinstance(body, list):
            return [self._filled(value) for value in body]
        return body.format(**self.names) if isinstance(body, str) and re.search(r"\{\w+\}", body) else body


@dataclass
class Both:
    bridge: Side
    reference: Side

    async def compare(self, method: str, path: str, body: Any = None) -> tuple[Any, Any]:
        # A read is asked again for a while: on a busy machine the reference's documents follow late.
        for _ in range(50 if method == "GET" else 1):
            ours, theirs = [(side, await side.call(method, path, body)) for side in (self.bridge, self.reference)]
            mine, real = [(status, side.plain(answer)) for side, (status, answer) in (ours, theirs)]
            if mine == real:
                break
            await asyncio.sleep(0.1)
        assert mine == real
        assert _keys(mine[1]) == _keys(real[1])
        return ours[1][1], theirs[1][1]

    async def end(self, answers: tuple[Any, Any]) -> tuple[Any, Any]:
        """Wait for both tasks; they must look alike."""
        mine = await self.bridge.ended(answers[0]["task_id"])
        real = await self.reference.ended(answers[1]["task_id"])
        assert self.bridge.plain(mine) == self.reference.plain(real)
        assert _keys(mine) == _keys(real)
        return mine, real

    def name(self, name: str, values: tuple[Any, Any], key: str) -> None:
        self.bridge.names[name], self.reference.names[name] = values[0][key], values[1][key]


def _keys(value: Any) -> Any:
    """The key order of everything."""
    if isinstance(value, dict):
        return [(key, _keys(inner)) for key, inner in value.items()]
    return [_keys(item) for item in value] if isinstance(value, list) else None


@pytest.fixture
async def both(cluster_url: str, settled_reference: Cluster, index_prefix: str, tmp_path: Path) -> AsyncIterator[Both]:
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge, aiohttp.ClientSession() as session:
        yield Both(Side(bridge.url, session), Side(settled_reference.url, session))


# Two runs against one reference must not share a group.
NAME = f"parity {uuid4().hex[:8]}"
BASE = register_body("http://127.0.0.1:9/x.zip", b"x", name=NAME)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in BASE.items() if name not in names}


def config(**changes: Any) -> dict[str, Any]:
    made = {**BASE["model_config"], **changes}
    return {**BASE, "model_config": {name: value for name, value in made.items() if value is not None}}


REFUSED: dict[str, tuple[str, str, Any]] = {
    "register without body": ("POST", "/models/_register", None),
    "register nothing": ("POST", "/models/_register", {}),
    "no name": ("POST", "/models/_register", without("name")),
    "old name, no name": ("POST", "/models/_upload", without("name")),
    "no format": ("POST", "/models/_register", without("model_format")),
    "bad format": ("POST", "/models/_register", {**BASE, "model_format": "PICKLE"}),
    "bad function": ("POST", "/models/_register", {**BASE, "function_name": "FOO"}),
    "no config": ("POST", "/models/_register", without("model_config")),
    "no type": ("POST", "/models/_register", config(model_type=None)),
    "no dimension": ("POST", "/models/_register", config(embedding_dimension=None)),
    "no framework": ("POST", "/models/_register", config(framework_type=None)),
    "bad framework": ("POST", "/models/_register", config(framework_type="weird")),
    "bad pooling": ("POST", "/models/_register", config(pooling_mode="weird")),
    "bad url": ("POST", "/models/_register", {**BASE, "url": "gopher://x/y.zip"}),
    "bad name": ("POST", "/models/_register", {**BASE, "name": "a<b>"}),
    "blank name": ("POST", "/models/_register", {**BASE, "name": "  "}),
    "bad description": ("POST", "/models/_register", {**BASE, "description": "a<b>"}),
    "array body": ("POST", "/models/nope/_deploy", "[]"),
    "unknown model": ("GET", "/models/nope", None),
    "delete unknown model": ("DELETE", "/models/nope", None),
    "deploy unknown": ("POST", "/models/nope/_deploy", None),
    "undeploy unknown": ("POST", "/models/nope/_undeploy", None),
    "undeploy nothing": ("POST", "/models/_undeploy", None),
    "undeploy empty": ("POST", "/models/_undeploy", {"model_ids": []}),
    "node_ids text": ("POST", "/models/nope/_deploy", {"node_ids": "x"}),
    "predict unknown": ("POST", "/models/nope/_predict", {"text_docs": ["a"]}),
    "predict unknown, named": ("POST", "/_predict/text_embedding/nope", {"text_docs": ["a"]}),
    "unknown task": ("GET", "/tasks/nope", None),
    "delete unknown task": ("DELETE", "/tasks/nope", None),
    "cancel unknown task": ("POST", "/tasks/nope/_cancel", None),
    "group without body": ("POST", "/model_groups/_register", None),
    "blank group": ("POST", "/model_groups/_register", {"name": "   "}),
    "bad group": ("POST", "/model_groups/_register", {"name": "a <b>"}),
    "private group": ("POST", "/model_groups/_register", {"name": "p", "access_mode": "private"}),
    "unknown group": ("GET", "/model_groups/nope", None),
    "update unknown group": ("PUT", "/model_groups/nope", {"description": "x"}),
    "wrong method": ("DELETE", "/models/_register", None),
    "no such route": ("GET", "/nowhere", None),
    "remote without connector": ("POST", "/models/_register", {"name": "r", "function_name": "remote"}),
    "config after the function": (
        "POST", "/models/_register", {
            "name": "n", "function_name": "text_embedding", "model_format": "ONNX",
            "model_config": {"model_type": "bert", "framework_type": "sentence_transformers"},
        },
    ),
}  # fmt: skip


async def test_refusals(both: Both) -> None:
    different = {}
    # A model index exists from the first registration on; before, some answers differ.
    await _registered(both, b"x", "http://127.0.0.1:9/x.zip")
    for case, (method, path, body) in REFUSED.items():
        try:
            await both.compare(method, path, body)
        except AssertionError as error:
            different[case] = str(error).splitlines()[:12]
    assert different == {}, "\n".join(f"{case}: {lines}" for case, lines in different.items())


async def _registered(both: Both, content: bytes, url: str, **changes: Any) -> tuple[Any, Any]:
    answers = await both.compare("POST", "/models/_register", register_body(url, content, name=NAME, **changes))
    return await both.end(answers)


async def test_failed_registrations(both: Both, model_server: FileServer) -> None:
    graph, tokenizer = b"x", b"{}"
    cases: dict[str, tuple[bytes, dict[str, Any]]] = {
        "wrong hash": (zipped(), {"model_content_hash_value": "0" * 64}),
        "no hash": (zipped(), {"model_content_hash_value": None}),
        "no zip": (b"hello world", {}),
        "no tokenizer": (zipped({"m.onnx": graph}), {}),
        "no model": (zipped({"tokenizer.json": tokenizer}), {}),
        "nothing": (zipped({"readme.txt": b"x"}), {}),
        "two models": (zipped({"a.onnx": graph, "b.onnx": graph, "tokenizer.json": tokenizer}), {}),
        "wrong format": (zipped({"a.pt": graph, "tokenizer.json": tokenizer}), {}),
        "unknown group": (zipped(), {"model_group_id": "nope"}),
    }
    different = {}
    for number, (case, (content, changes)) in enumerate(cases.items()):
        url = model_server.serve_bytes(f"{number}.zip", content)
        try:
            await _registered(both, content, url, **changes)
        except AssertionError as error:
            different[case] = str(error).splitlines()[:12]
    assert different == {}, "\n".join(f"{case}: {lines}" for case, lines in different.items())


async def test_the_life_of_a_model(
    both: Both, minilm_onnx_zip: Path, model_server: FileServer, user_index: str
) -> None:
    body = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    tasks = await both.end(await both.compare("POST", "/models/_register", {**body, "name": user_index}))
    both.name("model", tasks, "model_id")
    await both.compare("GET", "/models/{model}")
    await both.compare("POST", "/models/{model}/_predict", {"text_docs": ["a"]})
    await both.end(await both.compare("POST", "/models/{model}/_deploy"))
    for side in (both.bridge, both.reference):
        await side.deployed("{model}")
    await both.compare("GET", "/models/{model}")
    for asked in (
        {"text_docs": ["today is sunny", "hello"], "return_number": True, "target_response": ["sentence_embedding"]},
        {"text_docs": ["hello"], "return_number": False},
        {"text_docs": ["hello"], "return_bytes": True},
        {"text_docs": ["hello"], "target_response": ["nope"]},
        {"text_docs": ["hello"], "target_response": []},
        {"text_docs": ["hello"], "target_response_positions": [5]},
        {"text_docs": ["hello", "", 12], "bogus": {"a": 1}},
        {"text_docs": []},
        {},
        None,
        {"text_docs": ["hello"], "return_number": "yes"},
    ):
        await both.compare("POST", "/models/{model}/_predict", asked)
    await both.compare("POST", "/_predict/TEXT_EMBEDDING/{model}", {"text_docs": ["hello"]})
    await both.compare("POST", "/_predict/sparse_encoding/{model}", {"text_docs": ["hello"]})
    await both.compare("POST", "/_predict/foo/{model}", {"text_docs": ["hello"]})
    await both.compare("DELETE", "/models/{model}")
    gone = [await side.call("POST", "/models/{model}/_undeploy") for side in (both.bridge, both.reference)]
    assert [list(body.values()) for _, body in gone] == [
        [{"stats": {side.names["model"]: "undeployed"}}] for side in (both.bridge, both.reference)
    ]
    await both.compare("GET", "/models/{model}")
    await both.compare("DELETE", "/models/{model}")
