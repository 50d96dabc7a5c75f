"""Register by URL, deploy, predict, undeploy and delete on a real cluster with real models."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import real_models
from fake_inference import register_body, zipped
from file_server import FileServer
from model_bridge import ModelBridge, cluster_bridge, model_bridge

pytestmark = pytest.mark.integration

TEXTS = ["today is sunny", "the cat sat on the mat", "", "ünïcödé 漢字"]


async def test_the_main_job(
    cluster_url: str, index_prefix: str, tmp_path: Path, minilm_onnx_zip: Path, model_server: FileServer
) -> None:
    body = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge:
        registered = await bridge.register(body)
        assert registered["state"] == "COMPLETED", registered
        model_id = registered["model_id"]
        model = (await bridge.call("GET", f"/models/{model_id}")).body
        assert model["model_state"] == "REGISTERED"
        assert model["total_chunks"] == -(-body["model_content_size_in_bytes"] // 10_000_000)
        refused = await bridge.call("POST", f"/models/{model_id}/_predict", {"text_docs": TEXTS})
        assert (refused.status, refused.body["error"]["reason"]) == (
            400,
            "Model not ready yet. Please deploy the model first.",
        )
        deployed = await bridge.deploy(model_id)
        assert deployed["state"] == "COMPLETED", deployed
        assert deployed["worker_node"] == [bridge.node_id]
        model = (await bridge.call("GET", f"/models/{model_id}")).body
        assert (model["model_state"], model["current_worker_node_count"]) == ("DEPLOYED", 1)
        answer = await bridge.call("POST", f"/_predict/text_embedding/{model_id}", {"text_docs": TEXTS})
        assert answer.status == 200, answer.body
        vectors = [np.array(result["output"][0]["data"]) for result in answer.body["inference_results"]]
        assert [v.shape for v in vectors] == [(384,)] * len(TEXTS)
        assert all(abs(np.linalg.norm(v) - 1) < 1e-3 for v in vectors)
        found = await bridge.call("POST", "/models/_search", {"query": {"match_all": {}}})
        assert [hit["_id"] for hit in found.body["hits"]["hits"]] == [model_id]
        in_use = await bridge.call("DELETE", f"/models/{model_id}")
        assert in_use.status == 400
        gone = await bridge.call("POST", f"/models/{model_id}/_undeploy")
        assert gone.body == {bridge.node_id: {"stats": {model_id: "undeployed"}}}
        refused = await bridge.call("POST", f"/models/{model_id}/_predict", {"text_docs": TEXTS})
        assert refused.status == 400
        deleted = await bridge.call("DELETE", f"/models/{model_id}")
        assert deleted.body["result"] == "deleted"
        await bridge.stores.chunks.refresh()
        assert list(await bridge.stores.chunks.search({"match_all": {}}, exclude=("model_content",))) == []


async def test_it_survives_the_death_of_inference_and_its_own_restart(
    cluster_url: str, index_prefix: str, tmp_path: Path, minilm_onnx_zip: Path, model_server: FileServer
) -> None:
    body = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    asked = {"text_docs": ["today is sunny"]}
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge:
        model_id = (await bridge.register(body))["model_id"]
        assert (await bridge.deploy(model_id))["state"] == "COMPLETED"
        before = await bridge.call("POST", f"/models/{model_id}/_predict", asked)
        assert before.status == 200
        os.kill(bridge.inference.pid, signal.SIGKILL)
        after = await answered(bridge, model_id, asked)
        assert after == before.body
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge:
        assert await answered(bridge, model_id, asked) == before.body
        model = (await bridge.call("GET", f"/models/{model_id}")).body
        assert model["model_state"] in ("DEPLOYED", "DEPLOYING")
    assert model_server.hits == {minilm_onnx_zip.name: 1}


async def answered(bridge: ModelBridge, model_id: str, asked: dict[str, list[str]], within: float = 60.0) -> object:
    """The first good answer; until then only refusals that say "later"."""
    deadline = time.monotonic() + within
    while True:
        answer = await bridge.call("POST", f"/models/{model_id}/_predict", asked)
        if answer.status == 200:
            return answer.body
        assert answer.status in (400, 503), answer.body
        assert time.monotonic() < deadline, answer.body
        await asyncio.sleep(0.1)


async def test_another_bridge_asks_the_node_that_has_the_model(
    cluster_url: str, index_prefix: str, tmp_path: Path, minilm_onnx_zip: Path, model_server: FileServer
) -> None:
    body = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    asked = {"text_docs": ["today is sunny", "the cat"]}
    async with cluster_bridge(cluster_url, index_prefix, tmp_path / "ml") as worker:
        model_id = (await worker.register(body))["model_id"]
        await worker.deploy(model_id)
        here = await worker.call("POST", f"/models/{model_id}/_predict", asked)
        stores = worker.stores
        proxy = model_bridge(stores, tmp_path / "proxy", inference=None, roles=("proxy",))
        async with proxy as front:
            there = await front.call("POST", f"/models/{model_id}/_predict", asked)
            assert (there.status, there.body) == (200, here.body)
            stats = (await front.call("POST", f"/models/{model_id}/_undeploy")).body
            assert stats == {worker.node_id: {"stats": {model_id: "undeployed"}}}
            refused = await front.call("POST", f"/models/{model_id}/_predict", asked)
            assert refused.status == 400


async def test_a_broken_graph_fails_its_deploy_alone(
    cluster_url: str, index_prefix: str, tmp_path: Path, minilm_onnx_zip: Path, model_server: FileServer
) -> None:
    broken = zipped()
    good = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge:
        good_id = (await bridge.register(good))["model_id"]
        assert (await bridge.deploy(good_id))["state"] == "COMPLETED"
        bad = await bridge.register(register_body(model_server.serve_bytes("broken.zip", broken), broken))
        task = await bridge.deploy(bad["model_id"])
        assert task["state"] == "FAILED"
        assert list(json.loads(task["error"])) == [bridge.node_id]
        model = (await bridge.call("GET", f"/models/{bad['model_id']}")).body
        assert (model["model_state"], model["current_worker_node_count"]) == ("DEPLOY_FAILED", 0)
        answer = await bridge.call("POST", f"/models/{good_id}/_predict", {"text_docs": ["a"]})
        assert answer.status == 200
        await bridge.stores.tasks.refresh()
        found = await bridge.call("POST", "/tasks/_search", {"query": {"term": {"state": "FAILED"}}})
        assert found.body["hits"]["total"]["value"] == 1
        assert (await bridge.call("DELETE", f"/tasks/{found.body['hits']['hits'][0]['_id']}")).status == 200
        wrong = await bridge.call("POST", "/models/_search", {"query": {"nope": {}}})
        assert (wrong.status, wrong.body["error"]["type"]) == (400, "parsing_exception")


@pytest.mark.slow
async def test_torchscript(
    cluster_url: str, index_prefix: str, tmp_path: Path, minilm_torchscript_zip: Path, model_server: FileServer
) -> None:
    body = {
        "name": "all-MiniLM-L6-v2",
        "version": "1.0.0",
        "description": "test model",
        "model_format": "TORCH_SCRIPT",
        "model_content_hash_value": real_models.sha256(minilm_torchscript_zip),
        "model_config": {"model_type": "bert", "embedding_dimension": 384, "framework_type": "sentence_transformers"},
        "url": model_server.serve(minilm_torchscript_zip),
    }
    async with cluster_bridge(cluster_url, index_prefix, tmp_path) as bridge:
        model_id = (await bridge.register(body))["model_id"]
        task = await bridge.deploy(model_id)
        assert task["state"] == "COMPLETED", task
        answer = await bridge.call(
            "POST",
            f"/_predict/text_embedding/{model_id}",
            {"text_docs": ["today is sunny"], "return_number": True, "target_response": ["sentence_embedding"]},
        )
        (tensor,) = answer.body["inference_results"][0]["output"]
        assert (tensor["name"], tensor["data_type"], tensor["shape"]) == ("sentence_embedding", "FLOAT32", [384])
        # The first numbers that the documentation prints for this text.
        assert tensor["data"][:3] == pytest.approx([-0.023315024, 0.08975691, 0.078479774], abs=1e-5)
