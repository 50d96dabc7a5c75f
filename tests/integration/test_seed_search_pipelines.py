"""Both search pipelines of the ML Commons summary page, as printed there but for the models' ids."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import tiny_functions as tiny
from fake_inference import register_body
from fake_service import FakeService, private_endpoints
from file_server import FileServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ML = "/_plugins/_ml"

RERANK = r"""
{
  "response_processors": [
    {
      "ml_inference": {
        "model_id": "<cross_encoder_model_id>",
        "function_name": "TEXT_SIMILARITY",
        "model_input": "{ \"text_docs\": ${input_map.text_docs}, \"query_text\": \"${input_map.query_text}\" }",
        "input_map": [
          {
            "text_docs": "content",
            "query_text": "$.query.term.content.value"
          }
        ],
        "output_map": [
          {
            "rank_score": "$.inference_results[*].output[*].data"
          }
        ],
        "full_response_path": false,
        "one_to_one": true
      }
    },
    {
      "rerank": {
        "by_field": {
          "target_field": "rank_score",
          "remove_target_field": true
        }
      }
    }
  ]
}
"""

SUMMARIZE = r"""
{
  "response_processors": [
    {
      "ml_inference": {
        "model_id": "<llm_model_id>",
        "function_name": "REMOTE",
        "input_map": [
          {
            "context": "review"
          }
        ],
        "output_map": [
          {
            "ext.ml_inference.llm_response": "response"
          }
        ],
        "model_config": {
          "prompt": "Summarize: ${parameters.context.toString()}"
        },
        "one_to_one": false
      }
    }
  ]
}
"""


def call(bridge: str, method: str, path: str, body: Any = None) -> Any:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(bridge + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read().decode()}") from None


def ended(bridge: str, task_id: str) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        task = call(bridge, "GET", f"{ML}/tasks/{task_id}")
        if task["state"] not in ("CREATED", "RUNNING"):
            assert task["state"] == "COMPLETED", task
            return task
        time.sleep(0.05)
    raise AssertionError(f"task did not end: {task}")


def fill(bridge: str, index: str, field: str, texts: list[str]) -> None:
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    mappings = {"properties": {field: {"type": "text"}}}
    call(bridge, "PUT", f"/{index}", {"settings": settings, "mappings": mappings})
    lines = [line for at, text in enumerate(texts) for line in ({"index": {"_id": str(at)}}, {field: text})]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    assert not call(bridge, "POST", f"/{index}/_bulk?refresh=true", body)["errors"]


def test_cross_encoder_reranking(served_bridge: str, user_index: str, model_server: FileServer, tmp_path: Path) -> None:
    content = tiny.zip_of(tiny.write_cross_onnx(tmp_path / "cross"))
    config = {"model_type": "bert", "embedding_dimension": 1, "framework_type": "huggingface_transformers"}
    body = register_body(
        model_server.serve_bytes("cross.zip", content), content, function_name="TEXT_SIMILARITY", model_config=config
    )
    model = ended(served_bridge, call(served_bridge, "POST", f"{ML}/models/_register", body)["task_id"])["model_id"]
    ended(served_bridge, call(served_bridge, "POST", f"{ML}/models/{model}/_deploy")["task_id"])
    texts = ["the capital of france is paris", "a cat sat on the mat", "rain in the city", "the sun and a river"]
    fill(served_bridge, user_index, "content", texts)
    path = f"/_search/pipeline/{user_index}-rerank"
    definition = RERANK.replace("<cross_encoder_model_id>", model)
    try:
        assert call(served_bridge, "PUT", path, definition) == {"acknowledged": True}
        assert call(served_bridge, "GET", path) == {f"{user_index}-rerank": json.loads(definition)}
        query = {"query": {"term": {"content": {"value": "the"}}}}
        found = call(served_bridge, "POST", f"/{user_index}/_search?search_pipeline={user_index}-rerank", query)
    finally:
        call(served_bridge, "DELETE", path)
    asked = {"query_text": "the", "text_docs": texts}
    answer = call(served_bridge, "POST", f"{ML}/_predict/text_similarity/{model}", asked)
    results = answer["inference_results"]
    scores = {text: result["output"][0]["data"][0] for text, result in zip(texts, results, strict=True)}
    expected = sorted(texts, key=lambda text: -scores[text])
    hits = found["hits"]["hits"]
    assert [hit["_source"] for hit in hits] == [{"content": text} for text in expected]
    assert [hit["_score"] for hit in hits] == pytest.approx([scores[text] for text in expected], abs=1e-5)
    assert found["hits"]["max_score"] == hits[0]["_score"]
    assert found["hits"]["total"] == {"value": 4, "relation": "eq"}


def test_llm_summarization(served_bridge: str, user_index: str, fake_service: FakeService) -> None:
    fake_service.answer({"response": "People like it."})
    fill(served_bridge, user_index, "review", ['good "value"', "arrived late"])
    path = f"/_search/pipeline/{user_index}-summarize"
    with private_endpoints(served_bridge):
        connector = fake_service.connector('{"prompt": "${parameters.prompt}"}')
        connector_id = call(served_bridge, "POST", f"{ML}/connectors/_create", connector)["connector_id"]
        body = {"name": "llm", "function_name": "remote", "connector_id": connector_id}
        model = call(served_bridge, "POST", f"{ML}/models/_register?deploy=true", body)["model_id"]
        try:
            definition = SUMMARIZE.replace("<llm_model_id>", model)
            assert call(served_bridge, "PUT", path, definition) == {"acknowledged": True}
            search = f"/{user_index}/_search?search_pipeline={user_index}-summarize"
            found = call(served_bridge, "POST", search, {"query": {"match_all": {}}})
        finally:
            call(served_bridge, "DELETE", path)
    assert found["ext"] == {"ml_inference": {"llm_response": "People like it."}}
    assert [hit["_source"]["review"] for hit in found["hits"]["hits"]] == ['good "value"', "arrived late"]
    assert len(fake_service.bodies()) == 1
    prompt = fake_service.bodies()[0]["prompt"]
    assert prompt.startswith("Summarize: ")
    assert "arrived late" in prompt
