"""The main job on other OpenSearch versions than the default one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import main_job
import pytest
from bridge_fixtures import StartBridge
from file_server import FileServer
from server_fixtures import Cluster

pytestmark = [pytest.mark.smoke, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


def embed_and_search_exactly(bridge: Cluster, model: str, index: str) -> None:
    """Without k-NN in the cluster there are no vector fields: the pipeline still embeds, into a plain field."""
    processors = [{"text_embedding": {"model_id": model, "field_map": {"text": "vector"}}}]
    status, told = bridge.request("PUT", f"/_ingest/pipeline/{index}", {"processors": processors})
    assert status == 200, told
    settings = {"default_pipeline": index, "number_of_replicas": 0}
    mappings = {"properties": {"vector": {"type": "float", "index": False}}}
    status, told = bridge.request("PUT", f"/{index}", {"settings": settings, "mappings": mappings})
    assert status == 200, told
    main_job.bulk_texts(bridge, index)
    status, found = bridge.request("POST", f"/{index}/_search", {"query": {"match": {"text": "kitten"}}})
    assert status == 200, found
    [hit] = found["hits"]["hits"]
    assert hit["_id"] == "cat"
    expected = main_job.predict(bridge, model, main_job.TEXTS["cat"])
    assert cosine(hit["_source"]["vector"], expected) > 0.9999
    for question, answer in main_job.QUESTIONS.items():
        asked = main_job.predict(bridge, model, question)
        stored = bridge.request("POST", f"/{index}/_search", {"query": {"match_all": {}}})[1]["hits"]["hits"]
        best = max(stored, key=lambda one: cosine(one["_source"]["vector"], asked))
        assert best["_id"] == answer


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def test_main_job_on_opensearch_3_8(
    opensearch_38: Cluster,
    start_bridge: StartBridge,
    model_server: FileServer,
    minilm_onnx_zip: Path,
    user_index: str,
) -> None:
    bridge = Cluster(start_bridge(opensearch_38.url).url)
    model = main_job.register_minilm(bridge, minilm_onnx_zip, model_server)
    main_job.deploy(bridge, model)
    embed_and_search_exactly(bridge, model, user_index)
    main_job.drop(bridge, user_index)


def test_main_job_on_2_19_with_the_security_plugin(
    secured_cluster: Cluster,
    start_bridge: StartBridge,
    model_server: FileServer,
    minilm_onnx_zip: Path,
    user_index: str,
    tmp_path: Path,
) -> None:
    password = tmp_path / "password"
    password.write_text(secured_cluster.password)
    options = ["--user", secured_cluster.user, "--password-file", str(password), "--ca", secured_cluster.ca_file]
    started = start_bridge(secured_cluster.url, *options)
    # A client's own credentials go through to the cluster, and the bridge never shows its own.
    bridge = Cluster(started.url, secured_cluster.user, secured_cluster.password)
    model = main_job.register_minilm(bridge, minilm_onnx_zip, model_server)
    main_job.deploy(bridge, model)
    embed_and_search_exactly(bridge, model, user_index)
    assert secured_cluster.password not in started.log_text()
    assert secured_cluster.password not in json.dumps(bridge.request("GET", "/_plugins/_ml/models/_search")[1])
    main_job.drop(bridge, user_index)


def test_secured_cluster_refuses_strangers_through_the_bridge(
    secured_cluster: Cluster, start_bridge: StartBridge, user_index: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(secured_cluster.password)
    options = ["--user", secured_cluster.user, "--password-file", str(password), "--ca", secured_cluster.ca_file]
    url = start_bridge(secured_cluster.url, *options).url
    stranger, wrong = Cluster(url), Cluster(url, "admin", "wrong")
    for client in (stranger, wrong):
        assert client.request("GET", "/_cat/indices")[0] == 401
        assert client.request("PUT", f"/{user_index}/_doc/1", {"a": 1})[0] == 401
    owner = Cluster(url, secured_cluster.user, secured_cluster.password)
    assert owner.request("PUT", f"/{user_index}/_doc/1", {"a": 1})[0] == 201
