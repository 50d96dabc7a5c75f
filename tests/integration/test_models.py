"""Register by URL, deploy, predict, undeploy and delete on a real cluster with real models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import real_models
from file_server import FileServer
from model_bridge import cluster_bridge

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
