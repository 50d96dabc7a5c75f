"""Existing clients work unchanged: opensearch-py's `client.ml`, asynchronous too, and gzip both ways."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from bridge_fixtures import StartBridge
from file_server import FileServer
from opensearchpy import AsyncOpenSearch, NotFoundError, OpenSearch, RequestError, helpers
from real_models import MINILM

pytestmark = pytest.mark.integration


def ended(client: OpenSearch, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        task: dict[str, Any] = client.plugins.ml.get_task(task_id=task_id)
        if task["state"] not in ("CREATED", "RUNNING"):
            return task
        time.sleep(0.1)
    raise AssertionError(f"{task_id} did not end")


@pytest.mark.timeout(180)
async def test_the_whole_life_of_a_model_by_opensearch_py(
    cluster_url: str, start_bridge: StartBridge, minilm_onnx_zip: Path, model_server: FileServer, user_index: str
) -> None:
    bridge = start_bridge(cluster_url)
    client = OpenSearch(bridge.url, http_compress=True, timeout=60)
    ml = client.plugins.ml
    group = ml.register_model_group(body={"name": f"group {user_index}", "description": "of a test"})
    body = MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip)
    body["model_group_id"] = group["model_group_id"]
    registered = ended(client, ml.register_model(body=body)["task_id"])
    assert registered["state"] == "COMPLETED", registered
    model = registered["model_id"]
    try:
        assert ml.get_model(model_id=model)["model_state"] == "REGISTERED"
        assert ended(client, ml.deploy_model(model_id=model)["task_id"])["state"] == "COMPLETED"
        answer = ml.predict(algorithm_name="text_embedding", model_id=model, body={"text_docs": ["today is sunny"]})
        assert answer["inference_results"][0]["output"][0]["shape"] == [384]
        found = ml.search_models(body={"query": {"term": {"name.keyword": MINILM.name}}})
        assert [hit["_id"] for hit in found["hits"]["hits"]].count(model) == 1
        search_through(client, model, user_index)
        await search_asynchronously(bridge.url, model, user_index)
        assert model in str(ml.undeploy_model(model_id=model))
        assert ml.delete_model(model_id=model)["result"] == "deleted"
    finally:
        client.indices.delete(index=user_index, ignore_unavailable=True)
        client.ingest.delete_pipeline(id=user_index, ignore=[404])
    with pytest.raises(NotFoundError, match="Failed to find model"):
        ml.get_model(model_id=model)
    client.close()


def search_through(client: OpenSearch, model: str, index: str) -> None:
    embed = {"text_embedding": {"model_id": model, "field_map": {"text": "vector"}}}
    client.ingest.put_pipeline(id=index, body={"processors": [embed]})
    vector = {"type": "knn_vector", "dimension": 384, "method": {"name": "hnsw", "engine": "lucene"}}
    client.indices.create(
        index=index,
        body={
            "settings": {"index.knn": True, "default_pipeline": index},
            "mappings": {"properties": {"text": {"type": "text"}, "vector": vector}},
        },
    )
    texts = ["a cat on a stove", "an engine under repair", "flour and sugar"]
    actions = [{"_index": index, "_id": str(number), "text": text} for number, text in enumerate(texts)]
    assert helpers.bulk(client, actions, refresh=True) == (3, [])
    scanned = list(helpers.scan(client, index=index, query={"query": {"exists": {"field": "vector"}}}))
    assert len(scanned) == 3
    with pytest.raises(RequestError):
        client.search(index=index, body={"query": {"neural": {"vector": {"query_text": "x"}}}})


async def search_asynchronously(url: str, model: str, index: str) -> None:
    client = AsyncOpenSearch(url)
    query = {"neural": {"vector": {"query_text": "baking", "model_id": model, "k": 3}}}
    found = await client.search(index=index, body={"query": query, "_source": False})
    assert found["hits"]["hits"][0]["_id"] == "2"
    both = await client.msearch(
        body=[{"index": index}, {"query": query}, {"index": index}, {"query": {"match": {"text": "cat"}}}]
    )
    assert [answer["hits"]["hits"][0]["_id"] for answer in both["responses"]] == ["2", "0"]
    await client.close()
