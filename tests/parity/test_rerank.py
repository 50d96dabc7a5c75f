"""`rerank` here and in the reference, on the same hits and with the same scores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from fake_service import FakeService, Received, Told, private_endpoints
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_fixtures import Cluster

from bridge.domain.tensor import MLInput, MLOutput, ModelTensor, ModelTensors, TextSimilarityInput
from bridge.errors import BridgeError, InvalidRequest, error_body, status_of
from bridge.processors.registry import RESPONSE
from bridge.processors.search import SearchContext, SearchServices
from bridge.wire import dumps_exact, loads_exact

pytestmark = [pytest.mark.integration, pytest.mark.parity]

LENIENT = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MAPPINGS = {
    "dynamic": False,
    "properties": {"at": {"type": "integer"}, "word": {"type": "keyword"}, "real": {"type": "float"}},
}


def score(text: str) -> float:
    """Many texts share one."""
    return sum(map(ord, text)) % 7 / 8


class Model:
    """Scores as the service behind the reference's model does; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[TextSimilarityInput] = []

    async def predict(self, model_id: str, input: MLInput, **_: Any) -> MLOutput:
        assert isinstance(input, TextSimilarityInput)
        self.asked.append(input)
        tensors = [ModelTensor(name="similarity", data=np.asarray([score(text)])) for text in input.text_docs]
        return MLOutput(inference_results=(ModelTensors(output=tuple(tensors)),))


class Both:
    """An index and a remote reranker of the reference, and the bridge's processor beside it."""

    def __init__(self, reference: Cluster, service: FakeService, name: str, model_id: str) -> None:
        self.reference, self.service, self.name, self.model_id = reference, service, name, model_id
        self.model = Model()

    def fill(self, documents: list[Any]) -> None:
        self.reference.request("POST", f"/{self.name}/_delete_by_query?refresh=true", {"query": {"match_all": {}}})
        lines = [
            json.dumps({"index": {"_id": str(at)}}) + "\n" + json.dumps({**one, "at": at})
            for at, one in enumerate(documents)
        ]
        status, answer = self.reference.request("POST", f"/{self.name}/_bulk?refresh=true", "\n".join([*lines, ""]))
        assert (status, answer["errors"]) == (200, False), answer

    def search(self, config: dict[str, Any] | None, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        asked = {"query": {"match_all": {}}, "sort": ["at"], "size": 100, **(body or {})}
        if config is not None:
            asked["search_pipeline"] = {"response_processors": [{"rerank": config}]}
        return self.reference.request("POST", f"/{self.name}/_search", asked)

    def ours(self, config: dict[str, Any], body: dict[str, Any] | None = None) -> Any:
        """The answer, or the error."""
        plain = {key: value for key, value in (body or {}).items() if key != "ext"}
        _, response = self.search(None, plain)
        source = {"query": {"match_all": {"boost": 1.0}}, **(body or {})}

        async def request() -> dict[str, Any]:
            return source

        try:
            processor = RESPONSE["rerank"](config, SearchServices(predictor=self.model))
            exact = loads_exact(json.dumps(response))
            made = asyncio.run(processor.process(exact, SearchContext(request=request)))
        except BridgeError as error:
            return error
        assert json.loads(dumps_exact(exact)) == response, "changed in place"
        return json.loads(dumps_exact(made))

    def compare(self, config: dict[str, Any], body: dict[str, Any] | None = None) -> None:
        """Equal hits, or equal errors."""
        status, theirs = self.search(config, body)
        ours = self.ours(config, body)
        if isinstance(ours, BridgeError):
            assert (status_of(ours), error_body(ours)["error"]) == (status, theirs.get("error")), (config, theirs)
        else:
            assert status == 200, (config, theirs)
            assert ours["hits"] == theirs["hits"], config


@pytest.fixture(scope="module")
def both(reference: Cluster, shared_service: FakeService) -> Iterator[Both]:
    def answer(received: Received) -> Told:
        scores = [{"index": at, "relevance_score": score(text)} for at, text in enumerate(received.body["documents"])]
        return Told({"results": scores})

    shared_service.answer_by(answer)
    functions = {f"{when}_process_function": f"connector.{when}_process.cohere.rerank" for when in ("pre", "post")}
    body = '{"query": "${parameters.query}", "documents": ${parameters.documents}}'
    connector = shared_service.connector(body, action=functions)
    name = f"rerank-{uuid4().hex[:10]}"
    with private_endpoints(reference.url):
        registered = {"name": name, "function_name": "remote", "connector": connector}
        status, made = reference.request("POST", "/_plugins/_ml/models/_register?deploy=true", registered)
        assert status == 200, made
        settings_ = {"number_of_shards": 1, "number_of_replicas": 0}
        reference.request("PUT", f"/{name}", {"settings": settings_, "mappings": MAPPINGS})
        yield Both(reference, shared_service, name, made["model_id"])
        reference.request("DELETE", f"/{name}")
        reference.request("POST", f"/_plugins/_ml/models/{made['model_id']}/_undeploy")
        reference.request("DELETE", f"/_plugins/_ml/models/{made['model_id']}")


NUMBERS = st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.sampled_from(["1.5", " 2 ", "-3e2", "4f", ".5"]),
)
TEXTS = st.text(st.sampled_from('abc "\\é☃\n{}'), max_size=6)
LEAVES = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
VALUES = st.one_of(
    LEAVES,
    st.lists(TEXTS, max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["b", "c"]), LEAVES, max_size=2), max_size=3),
    st.dictionaries(st.sampled_from(["b", "c", "dd", "e-e", "f.f"]), LEAVES, max_size=4),
)


@LENIENT
@given(st.lists(st.fixed_dictionaries({"m": st.fixed_dictionaries({"s": NUMBERS})}), min_size=1, max_size=6))
def test_by_field(both: Both, documents: list[Any]) -> None:
    both.fill(documents)
    for more in ({}, {"remove_target_field": True}, {"keep_previous_score": True}):
        scored = {"sort": ["_score", "at"]} if more else {}
        both.compare({"by_field": {"target_field": "m.s", **more}}, scored)


def test_fields_that_are_no_numbers(both: Both) -> None:
    for document in (
        {"a": 1}, {"m": {"s": None}}, {"m": {"s": "abc"}}, {"m": {"s": ""}}, {"m": {"s": True}},
        {"m": {"s": {"a": 1.0}}}, {"m": 5}, {"m.s": 3}, {"m": {"s": [1.5, "x", None]}}, {"m": [{"s": 1}, {"s": 2}]},
    ):  # fmt: skip
        both.fill([{"m": {"s": 1}}, document])
        both.compare({"by_field": {"target_field": "m.s"}})
    both.fill([{"m": {"s": 1}}])
    both.compare({"by_field": {"target_field": "m.0"}})
    both.compare({"by_field": {"target_field": "m.s"}}, {"_source": False})
    both.compare({"by_field": {"target_field": "m.s"}}, {"query": {"match_none": {}}})


def test_what_is_left_after_removing(both: Both) -> None:
    removing = {"target_field": "a.b.c", "remove_target_field": True}
    for document in ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}, "x": {}}}):
        both.fill([document])
        both.compare({"by_field": removing}, {"_source": ["a"]})
        both.compare({"by_field": {**removing, "keep_previous_score": True}}, {"_source": ["a"], "sort": ["_score"]})


def asked(text: str = 'q "x"') -> dict[str, Any]:
    return {"ext": {"rerank": {"query_context": {"query_text": text}}}}


@LENIENT
@given(st.lists(st.dictionaries(st.sampled_from(["a", "word"]), VALUES, max_size=2), min_size=1, max_size=5))
def test_by_model(both: Both, documents: list[Any]) -> None:
    both.fill([{key: one for key, one in each.items() if key != "word"} for each in documents])
    for fields in (["a"], ["a.b", "a"], ["a.c", "zz"]):
        both.service.received.clear()
        both.model.asked.clear()
        both.compare({"ml_opensearch": {"model_id": both.model_id}, "context": {"document_fields": fields}}, asked())
        sent = both.service.bodies()[0]
        assert [sent["query"], sent["documents"]] == ['q "x"', list(both.model.asked[0].text_docs)]


def test_fields_come_before_the_source(both: Both) -> None:
    both.fill([{"word": "b", "real": 0.1}, {"word": ["z", "a"], "real": 3}, {"word": "c", "real": 1e10}])
    config = {"ml_opensearch": {"model_id": both.model_id}, "context": {"document_fields": ["word", "real", "at"]}}
    for body in ({"fields": ["word", "real"]}, {"docvalue_fields": ["at"], "_source": False}, {"_source": ["word"]}):
        both.service.received.clear()
        both.model.asked.clear()
        both.compare(config, {**body, **asked()})
        assert both.service.bodies()[0]["documents"] == list(both.model.asked[0].text_docs)


def test_what_a_search_must_say(both: Both) -> None:
    both.fill([{"a": "x"}])
    config = {"ml_opensearch": {"model_id": both.model_id}, "context": {"document_fields": ["a"]}}
    wrong: list[Any] = [
        {"x": 1},
        {"query_context": {}},
        {"query_context": {"query_text": "a", "query_text_path": "b"}},
        {"query_context": {"query_text_path": "query.match_all"}},
        {"query_context": {"query_text_path": "query.zz.b"}},
        {"query_context": {"query_text_path": "a" * 1001}},
        {"query_context": "x"},
    ]
    for rerank in wrong:
        both.compare(config, {"ext": {"rerank": rerank}})
    both.compare(config, {"size": 0, **asked()})
    both.compare(config, {"query": {"match_none": {}}, **asked()})
    path = {"ext": {"rerank": {"query_context": {"query_text_path": "sort.0.at.order"}}}}
    assert isinstance(both.ours(config, path), InvalidRequest)


def test_what_is_500_there_and_400_here(both: Both) -> None:
    both.fill([{"a": "x"}])
    config = {"ml_opensearch": {"model_id": both.model_id}, "context": {"document_fields": ["a"]}}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (config, {}),
        (config, {"ext": {"rerank": {"query_context": {"query_text": 5}}}}),
        (config, {"ext": {"rerank": {"query_context": {"query_text_path": 5}}}}),
        ({**config, "context": {}}, asked()),
    ]
    for tried, body in cases:
        status, theirs = both.search(tried, body)
        assert status == 500, theirs
        assert status_of(both.ours(tried, body)) == 400
    for body in ({"size": 0}, {"track_total_hits": False}):
        assert both.search({"by_field": {"target_field": "at"}}, body)[0] == 500
        assert "hits" in both.ours({"by_field": {"target_field": "at"}}, body)


def test_what_the_bridge_ranks_besides(both: Both) -> None:
    both.fill([{"s": [1]}, {"s": [2.5]}])
    assert both.search({"by_field": {"target_field": "s"}})[0] == 400
    hits = both.ours({"by_field": {"target_field": "s"}})["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in hits["hits"]] == [("1", 2.5), ("0", 1.0)]
    assert hits["max_score"] == 2.5


ML = {"model_id": "x"}
FIELDS = {"document_fields": ["a"]}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"foo": {}},
        {"ml_opensearch": ML, "context": FIELDS, "by_field": {"target_field": "n"}},
        {"ml_opensearch": ML},
        {"ml_opensearch": ML, "context": {"foo": 1}},
        {"ml_opensearch": ML, "context": {"document_fields": "a"}},
        {"ml_opensearch": ML, "context": {"document_fields": []}},
        {"ml_opensearch": ML, "context": {"document_fields": ["a"] * 51}},
        {"ml_opensearch": {}, "context": FIELDS},
        {"ml_opensearch": {"model_id": 5}, "context": FIELDS},
        {"ml_opensearch": "x", "context": FIELDS},
        {"ml_opensearch": ML, "context": 5},
        {"ml_opensearch": ML, "context": FIELDS, "zz": 1},
        {"ml_opensearch": {**ML, "zz": 1}, "context": FIELDS},
        {"by_field": 5},
        {"by_field": {}},
        {"by_field": {"target_field": 5}},
        {"by_field": {"target_field": "a", "zz": 1}},
        {"by_field": {"target_field": "a", "remove_target_field": "true"}},
        {"by_field": {"target_field": "a"}, "context": FIELDS},
        {"zz": 1, "by_field": {"target_field": "a"}},
    ],
)
def test_configurations(reference: Cluster, config: dict[str, Any]) -> None:
    name = f"rerank-{uuid4().hex[:10]}"
    body = {"response_processors": [{"rerank": config}]}
    status, theirs = reference.request("PUT", f"/_search/pipeline/{name}", body)
    reference.request("DELETE", f"/_search/pipeline/{name}")
    try:
        RESPONSE["rerank"](config, SearchServices(predictor=Model()))
    except InvalidRequest as error:
        assert (status, theirs["error"]) == (400, error_body(error)["error"])
    else:
        assert status == 200, theirs
