"""Registering by URL: what a client reads in the task, and what is left behind."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, register_body, zipped
from file_server import FileServer
from model_bridge import ModelBridge, model_bridge

from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.names import ModelState
from bridge.models.register_task import model_id_of
from bridge.store.stores import Stores

NO_TOKENIZER = zipped({"model.onnx": b"x"})
NO_MODEL = zipped({"tokenizer.json": b"{}"})
TWO_MODELS = zipped({"a.onnx": b"x", "b.onnx": b"x", "tokenizer.json": b"{}"})
WRONG_FORMAT = zipped({"a.pt": b"x", "tokenizer.json": b"{}"})
ESCAPING = zipped({"model.onnx": b"x", "tokenizer.json": b"{}", "../evil": b"x"})


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[ModelBridge]:
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference()) as running:
        yield running


async def left_behind(bridge: ModelBridge) -> list[str]:
    everything = {"match_all": {}}
    return [
        *(stored.id for stored in await bridge.stores.models.search(everything)),
        *(stored.id for stored in await bridge.stores.chunks.search(everything)),
        *(stored.id for stored in await bridge.stores.groups.search(everything)),
    ]


@pytest.mark.parametrize(
    ("content", "changes", "error"),
    [
        (zipped(), {"model_content_hash_value": "0" * 64}, "model content changed"),
        (
            zipped(),
            {"model_content_hash_value": None},
            "Model content Hash code need to be provided when register via url. Please calculate sha 256 Hash code.",
        ),
        (b"no zip at all", {}, "zip END header not found"),
        (NO_TOKENIZER, {}, "No tokenizer file"),
        (NO_MODEL, {}, "Can't find model file"),
        (TWO_MODELS, {}, "Find multiple model files, but expected only one"),
        (WRONG_FORMAT, {}, "Model format is ONNX, but find .pt file"),
        (ESCAPING, {}, "the zip holds a forbidden name: '../evil'"),
        (zipped(), {"model_group_id": "nope"}, "Model group not found"),
    ],
)
async def test_failures_say_why_and_leave_nothing(
    bridge: ModelBridge, model_server: FileServer, content: bytes, changes: dict[str, Any], error: str
) -> None:
    url = model_server.serve_bytes("model.zip", content)
    task = await bridge.register(register_body(url, content, **changes))
    assert (task["state"], task["error"]) == ("FAILED", error)
    assert "model_id" not in task
    assert "progress" not in task
    assert await left_behind(bridge) == []


async def test_a_missing_file_is_named(bridge: ModelBridge, model_server: FileServer) -> None:
    url = model_server.url("missing.zip")
    task = await bridge.register(register_body(url, b"x"))
    assert (task["state"], task["error"]) == ("FAILED", url)


async def test_nobody_listens(bridge: ModelBridge) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/model.zip"
        task = await bridge.register(register_body(url, b"x"))
    assert (task["state"], task["error"]) == ("FAILED", "Connection refused")
    assert await left_behind(bridge) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/model.zip"])
async def test_other_schemes_are_off(bridge: ModelBridge, url: str) -> None:
    task = await bridge.register(register_body(url, b"x"))
    assert task["state"] == "FAILED"
    assert "URLs are not allowed" in task["error"]


async def test_versions_count_up_in_one_group_and_failures_take_theirs_back(
    bridge: ModelBridge, model_server: FileServer
) -> None:
    content = zipped()
    url = model_server.serve_bytes("model.zip", content)
    models = []
    for hash_value in (None, "0" * 64, None):
        changes = {} if hash_value is None else {"model_content_hash_value": hash_value}
        task = await bridge.register(register_body(url, content, **changes))
        if task["state"] == "COMPLETED":
            models.append((await bridge.call("GET", f"/models/{task['model_id']}")).body)
    assert [model["model_version"] for model in models] == ["1", "2"]
    assert len({model["model_group_id"] for model in models}) == 1
    group = (await bridge.call("GET", f"/model_groups/{models[0]['model_group_id']}")).body
    assert (group["name"], group["latest_version"]) == ("tiny", 2)


async def test_the_documents_have_the_recorded_fields(bridge: ModelBridge, model_server: FileServer) -> None:
    content = zipped()
    task = await bridge.register(register_body(model_server.serve_bytes("m.zip", content), content))
    assert list(task) == [
        "model_id", "task_type", "function_name", "state", "worker_node", "create_time", "last_update_time", "is_async",
    ]  # fmt: skip
    model = (await bridge.call("GET", f"/models/{task['model_id']}")).body
    assert list(model) == [
        "name", "model_group_id", "algorithm", "model_version", "description", "model_format", "model_state",
        "model_content_size_in_bytes", "model_content_hash_value", "model_config", "created_time", "last_updated_time",
        "last_registered_time", "total_chunks", "is_hidden",
    ]  # fmt: skip
    assert model["model_config"] == {
        "model_type": "bert",
        "embedding_dimension": 3,
        "framework_type": "SENTENCE_TRANSFORMERS",
    }
    chunk = await bridge.stores.chunks.get(f"{task['model_id']}_0")
    assert chunk is not None
    assert (chunk.value.chunk_number, chunk.value.total_chunks) == (0, 1)


async def test_what_a_killed_worker_left_is_used_again_or_cleared(
    bridge: ModelBridge, model_server: FileServer
) -> None:
    """The id of a task's model follows from the task, so the remains of a FAILED task are found."""
    content = zipped()
    task_id = (await bridge.call("POST", "/models/_register", register_body("http://127.0.0.1:9/x", content))).body[
        "task_id"
    ]
    await bridge.ended(task_id)
    url = model_server.serve_bytes("m.zip", content)
    good = await bridge.register(register_body(url, content))
    stored = await bridge.stores.models.get(good["model_id"])
    chunk = await bridge.stores.chunks.get(f"{good['model_id']}_0")
    assert stored is not None
    assert chunk is not None
    left = model_id_of(task_id)
    await bridge.stores.models.create(replace(stored.value, model_state=ModelState.REGISTERING), id=left)
    await bridge.stores.chunks.create(replace(chunk.value, model_id=left), id=f"{left}_0")
    assert await bridge.runtime.removal.sweep() == [left]
    assert await bridge.stores.models.get(left) is None
    assert await bridge.stores.chunks.get(f"{left}_0") is None
    assert await bridge.stores.models.get(good["model_id"]) is not None


async def test_register_and_deploy_in_one_call(bridge: ModelBridge, model_server: FileServer) -> None:
    content = zipped()
    url = model_server.serve_bytes("m.zip", content)
    task = await bridge.register(register_body(url, content), params={"deploy": "true"})
    answer = await bridge.call("POST", f"/models/{task['model_id']}/_predict", {"text_docs": ["abc"]})
    for _ in range(100):
        if answer.status == 200:
            break
        answer = await bridge.call("POST", f"/models/{task['model_id']}/_predict", {"text_docs": ["abc"]})
    assert answer.body == {
        "inference_results": [
            {
                "output": [
                    {"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [3], "data": [3.0, 0.1, -0.25]}
                ]
            }
        ]
    }


@pytest.mark.parametrize(
    ("off", "kind", "reason"),
    [
        ({"local_model_enabled": False}, "status_exception", "Local Model is currently disabled."),
        (
            {"allow_registering_model_via_url": False},
            "illegal_argument_exception",
            "To upload custom model user needs to enable allow_registering_model_via_url settings.",
        ),
        ({"trusted_url_regex": "^https://ours/"}, "illegal_argument_exception", "URL can't match trusted url regex"),
    ],
)
async def test_settings_refuse_registrations_at_once(
    tmp_path: Path, off: dict[str, Any], kind: str, reason: str
) -> None:
    settings = FixedSettings(ClusterSettings(**off))
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference(), settings=settings) as bridge:
        answer = await bridge.call("POST", "/models/_register", register_body("http://127.0.0.1:9/x.zip", b"x"))
        assert (answer.status, answer.body["error"]["type"]) == (400, kind)
        assert answer.body["error"]["reason"].startswith(reason)


async def test_the_fields_of_a_request_reach_the_document(bridge: ModelBridge, model_server: FileServer) -> None:
    content = zipped()
    body = register_body(
        model_server.serve_bytes("m.zip", content),
        content,
        rate_limiter={"limit": 2, "unit": "DAYS"},
        deploy_setting={"is_auto_deploy_enabled": False},
        is_enabled=False,
        interface={"input": {"type": "object"}},
        guardrails={"input_guardrail": {"regex": ["x"]}},
    )
    task = await bridge.register(body)
    model = (await bridge.call("GET", f"/models/{task['model_id']}")).body
    assert model["rate_limiter"] == {"limit": "2", "unit": "DAYS"}
    assert model["deploy_setting"] == {"is_auto_deploy_enabled": False, "model_ttl_minutes": -1}
    assert model["is_enabled"] is False
    assert model["interface"] == {"input": '{"type":"object"}'}
    assert model["guardrails"] == {"type": "local_regex", "input_guardrail": {"regex": ["x"]}}
