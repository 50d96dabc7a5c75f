"""`rerank` in search pipelines: the same searches to the bridge and to the reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_service import FakeService, Received, Told, private_endpoints
from scenario import DELETED, ML, Side, Step, play
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.parity]

MODEL = f"{ML}/models/<model>"
BETTER = "the reference answers 500, or refuses what it could do"
DOCUMENTS = [
    {"at": 1, "title": "red apple", "tag": "fruit", "m": {"score": 0.2, "lang": "en"}},
    {"at": 2, "title": "green pear", "tag": "fruit", "m": {"score": 0.7, "lang": "fr"}},
    {"at": 3, "title": "blue car", "tag": "vehicle", "m": {"score": 0.4, "lang": "de"}},
    {"at": 4, "title": "old boat", "tag": "vehicle", "m": {"score": 0.9, "lang": "en"}},
]
PROPERTIES = {"at": {"type": "integer"}, "tag": {"type": "keyword"}}


@pytest.fixture(scope="module", autouse=True)
def _private(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    with private_endpoints(parity_bridge), private_endpoints(reference.url):
        yield


def _scores(received: Received) -> Told:
    texts = received.body["documents"]
    return Told({"results": [{"index": at, "relevance_score": len(text) / 32} for at, text in enumerate(texts)]})


def context(**fields: Any) -> dict[str, Any]:
    return {"ext": {"rerank": {"query_context": fields}}}


def search(name: str, body: dict[str, Any], pipeline: str = "<unique>-model", **options: Any) -> Step:
    whole = {"query": {"match_all": {}}, "sort": ["at"], "_source": ["title", "m"], **body}
    skip = ("profile", *options.pop("skip", ()))
    path = f"/<unique>/_search?search_pipeline={pipeline}"
    return Step(name, "POST", path, whole, skip=skip, unordered=True, **options)


async def test_searches(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(_scores)
    functions = {f"{when}_process_function": f"connector.{when}_process.cohere.rerank" for when in ("pre", "post")}
    connector = fake_service.connector(
        '{"query": "${parameters.query}", "documents": ${parameters.documents}}', action=functions
    )
    lines = [json.dumps({"index": {"_id": str(one["at"])}}) + "\n" + json.dumps(one) + "\n" for one in DOCUMENTS]
    by_model = {"ml_opensearch": {"model_id": "<model>"}, "context": {"document_fields": ["title", "m.lang"]}}
    by_field = {"by_field": {"target_field": "m.score", "remove_target_field": True}}
    then = {"rename_field": {"field": "title", "target_field": "t"}}
    steps = [
        Step(
            "model",
            "POST",
            f"{ML}/models/_register?deploy=true",
            {"name": "<unique>", "function_name": "remote", "connector": connector},
            capture={"model": "model_id"},
        ),
        Step("index", "PUT", "/<unique>", {"mappings": {"properties": PROPERTIES}}, skip=("index",)),
        Step("documents", "POST", "/<unique>/_bulk?refresh=true", "".join(lines), skip=("items",)),
        Step("by model", "PUT", "/_search/pipeline/<unique>-model", {"response_processors": [{"rerank": by_model}]}),
        Step(
            "by field",
            "PUT",
            "/_search/pipeline/<unique>-field",
            {"response_processors": [{"rerank": by_field}, then, {"truncate_hits": {"target_size": 2}}]},
        ),
        search("by a text", context(query_text="x")),
        search(
            "by a path",
            {"query": {"match": {"title": "red pear car"}}, **context(query_text_path="query.match.title.query")},
        ),
        search("a path that ends early", context(query_text_path="query.match_all")),
        search("a path to nothing", context(query_text_path="query.zzz.b")),
        search("both", context(query_text="x", query_text_path="query")),
        search("neither", context()),
        search("no context", {"ext": {"rerank": {"x": 1}}}),
        search("no ext", {}, differs=BETTER, status=400),
        search("a number", context(query_text=5), differs=BETTER, status=400),
        search("no hits asked for", {"size": 0, **context(query_text="x")}),
        search("no hits found", {"query": {"match_none": {}}, **context(query_text="x")}),
        search("aggregated", {"aggs": {"t": {"terms": {"field": "tag"}}}, **context(query_text="x")}),
        search("with fields", {"fields": ["tag"], "docvalue_fields": ["at"], **context(query_text="x")}),
        search("by a field, then the cluster's own", {}, "<unique>-field"),
        search(
            "by a field of scored hits", {"sort": ["_score"], "query": {"match": {"tag": "fruit"}}}, "<unique>-field"
        ),
        search("without source", {"_source": False}, "<unique>-field"),
        search("by a field that some lack", {"_source": ["title"]}, "<unique>-field"),
        search("uncounted", {"track_total_hits": False}, "<unique>-field", differs=BETTER, status=200),
        Step("pipeline gone", "DELETE", "/_search/pipeline/<unique>-model"),
        Step("other pipeline gone", "DELETE", "/_search/pipeline/<unique>-field"),
        Step("index gone", "DELETE", "/<unique>"),
        Step("deployed", "GET", MODEL, until={"model_state": ["DEPLOYED"]}, skip=("planning_worker_nodes",)),
        Step("undeployed", "POST", f"{MODEL}/_undeploy", differs="node ids differ"),
        Step("model gone", "DELETE", MODEL, until=DELETED),
    ]
    await play(steps, *sides)
