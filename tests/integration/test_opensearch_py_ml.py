"""opensearch-py-ml's own client works unchanged: groups, chunks, deployment, embeddings, profile, deletion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import real_models
from bridge_fixtures import StartBridge
from file_server import FileServer
from opensearchpy import OpenSearch

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    # The client library and pandas, which it brings, warn about themselves.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture
def bridge_client(cluster_url: str, start_bridge: StartBridge) -> OpenSearch:
    return OpenSearch(start_bridge(cluster_url).url, timeout=60)


def config_file(folder: Path, archive: Path, name: str) -> str:
    told = real_models.MINILM.register_body("", archive)
    body = {key: told[key] for key in ("model_format", "model_config")} | {"name": name, "version": 1}
    path = folder / "config.json"
    path.write_text(json.dumps(body))
    return str(path)


def test_a_model_by_chunks(
    bridge_client: OpenSearch,
    minilm_onnx_zip: Path,
    tmp_path: Path,
    user_index: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from opensearch_py_ml.ml_commons import MLCommonClient

    client: Any = MLCommonClient(bridge_client)
    model = client.register_model(str(minilm_onnx_zip), config_file(tmp_path, minilm_onnx_zip, user_index))
    assert client.get_model_info(model)["model_state"] == "DEPLOYED"
    answer = client.generate_embedding(model, ["today is sunny", "a cat on a stove"])
    assert [result["output"][0]["shape"] for result in answer["inference_results"]] == [[384], [384]]
    inference = client.generate_model_inference(model, {"text_docs": ["hello"]})
    assert inference["inference_results"][0]["output"][0]["name"] == "sentence_embedding"
    profile = bridge_client.transport.perform_request("GET", "/_plugins/_ml/profile/models/")
    assert model in str(profile)
    found = client.search_model({"query": {"match": {"name": user_index}}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == [model]
    assert model in str(client.undeploy_model(model))
    assert client.delete_model(model)["result"] == "deleted"
    assert "Model registered successfully" in capsys.readouterr().out


def test_groups(bridge_client: OpenSearch, user_index: str) -> None:
    from opensearch_py_ml.ml_commons import MLCommonClient

    groups: Any = MLCommonClient(bridge_client).model_access_control
    # Its own register_model_group always sends add_all_backend_roles, which ML Commons refuses without security.
    body = {"name": user_index, "description": "of a test"}
    made = bridge_client.transport.perform_request("POST", "/_plugins/_ml/model_groups/_register", body=body)
    group = made["model_group_id"]
    assert groups.search_model_group_by_name(user_index)["hits"]["hits"][0]["_id"] == group
    groups.update_model_group({"description": "of another"}, group)
    assert groups.delete_model_group(group)["result"] == "deleted"


def test_a_pretrained_model_by_url(
    bridge_client: OpenSearch, minilm_onnx_zip: Path, model_server: FileServer, user_index: str
) -> None:
    from opensearch_py_ml.ml_commons import MLCommonClient

    client: Any = MLCommonClient(bridge_client)
    body = real_models.MINILM.register_body(model_server.serve(minilm_onnx_zip), minilm_onnx_zip) | {"name": user_index}
    task = bridge_client.transport.perform_request("POST", "/_plugins/_ml/models/_register", body=body)["task_id"]
    ended = client.get_task_info(task, wait_until_task_done=True)
    assert ended["state"] == "COMPLETED"
    assert client.delete_model(ended["model_id"])["result"] == "deleted"
    assert client.delete_task(task)["result"] == "deleted"
