"""Every request of the ML framework's documentation page, as printed there but for the model's URL and hash."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import real_models
from file_server import FileServer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

ML = "/_plugins/_ml"


def call(bridge: str, method: str, path: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(bridge + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read().decode()}") from None


def ended(bridge: str, task_id: str) -> Any:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        task = call(bridge, "GET", f"{ML}/tasks/{task_id}")
        if task["state"] not in ("CREATED", "RUNNING"):
            return task
        time.sleep(0.1)
    raise AssertionError(f"task did not end: {task}")


def document(url: str, sha256: str, model_format: str) -> dict[str, Any]:
    """The example request of the page."""
    return {
        "name": "all-MiniLM-L6-v2",
        "version": "1.0.0",
        "description": "test model",
        "model_format": model_format,
        "model_content_hash_value": sha256,
        "model_config": {"model_type": "bert", "embedding_dimension": 384, "framework_type": "sentence_transformers"},
        "url": url,
    }


def walk(bridge: str, body: dict[str, Any], *, names: tuple[str, str, str]) -> None:
    register, deploy, undeploy = names
    submitted = call(bridge, "POST", f"{ML}/models/{register}", body)
    assert set(submitted) == {"task_id", "status"}
    assert submitted["status"] == "CREATED"
    task = ended(bridge, submitted["task_id"])
    assert task["state"] == "COMPLETED", task
    assert task["function_name"] == "TEXT_EMBEDDING"
    assert task["is_async"] is True
    model_id = task["model_id"]

    submitted = call(bridge, "POST", f"{ML}/models/{model_id}/{deploy}")
    assert submitted["status"] == "CREATED"
    task = ended(bridge, submitted["task_id"])
    assert (task["state"], task["model_id"]) == ("COMPLETED", model_id)
    (node,) = task["worker_node"]

    submitted = call(bridge, "POST", f"{ML}/models/{model_id}/{deploy}", {"node_ids": [node]})
    assert ended(bridge, submitted["task_id"])["state"] == "COMPLETED"

    asked = {"text_docs": ["today is sunny"], "return_number": True, "target_response": ["sentence_embedding"]}
    answer = call(bridge, "POST", f"{ML}/_predict/text_embedding/{model_id}", asked)
    (result,) = answer["inference_results"]
    (tensor,) = result["output"]
    assert list(tensor) == ["name", "data_type", "shape", "data"]
    assert (tensor["name"], tensor["data_type"], tensor["shape"]) == ("sentence_embedding", "FLOAT32", [384])
    assert len(tensor["data"]) == 384
    again = call(bridge, "POST", f"{ML}/models/{model_id}/_predict", {"text_docs": ["today is sunny"]})
    # Without target_response a TorchScript model answers everything it puts out, as in ML Commons.
    assert [t for t in again["inference_results"][0]["output"] if t["name"] == "sentence_embedding"] == [tensor]

    stats = call(bridge, "POST", f"{ML}/models/{model_id}/{undeploy}")
    assert stats == {node: {"stats": {model_id: "undeployed"}}}
    assert re.fullmatch(r"[A-Za-z0-9_-]{20,}", model_id)


NAMES = [("_register", "_deploy", "_undeploy"), ("_upload", "_load", "_unload")]


def test_with_onnx(served_bridge: str, minilm_onnx_zip: Path, model_server: FileServer) -> None:
    body = document(model_server.serve(minilm_onnx_zip), real_models.sha256(minilm_onnx_zip), "ONNX")
    for names in NAMES:
        walk(served_bridge, body, names=names)


def test_with_torchscript(served_bridge: str, minilm_torchscript_zip: Path, model_server: FileServer) -> None:
    url = model_server.serve(minilm_torchscript_zip)
    body = document(url, real_models.sha256(minilm_torchscript_zip), "TORCH_SCRIPT")
    for names in NAMES:
        walk(served_bridge, body, names=names)
