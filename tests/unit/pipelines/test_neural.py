"""`neural` becomes `knn`, wherever a query may stand and nowhere else."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors, TextDocsInput
from bridge.errors import InvalidRequest
from bridge.pipelines.neural import clauses_in, rewritten, with_vectors
from bridge.wire import dumps_exact, loads

NEURAL = {"neural": {"v": {"query_text": "a", "model_id": "m", "k": 3}}}
KNN = {"knn": {"v": {"vector": [1], "k": 3}}}


class Lengths:
    """A model whose vector is the text's length."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    async def predict(
        self, model_id: str, input: TextDocsInput, *, deadline: float | None = None, caller: Any = None
    ) -> MLOutput:
        self.calls.append((model_id, input.text_docs))
        return MLOutput(
            inference_results=tuple(
                ModelTensors(output=(ModelTensor(name="sentence_embedding", data=np.array([len(t)], np.float32)),))
                for t in input.text_docs
            )
        )


def replaced(body: Any) -> Any:
    return with_vectors(body, {("m", "a"): [1]})


@pytest.mark.parametrize(
    "place",
    [
        lambda q: {"query": q},
        lambda q: {"post_filter": q},
        lambda q: {"query": {"bool": {"should": [q, {"match": {"t": "x"}}], "filter": q}}},
        lambda q: {"query": {"function_score": {"query": q, "functions": [{"filter": q, "weight": 2}]}}},
        lambda q: {"query": {"nested": {"path": "p", "query": q}}},
        lambda q: {"query": {"constant_score": {"filter": q}}},
        lambda q: {"query": {"boosting": {"positive": q, "negative": q, "negative_boost": 0.5}}},
        lambda q: {"query": {"dis_max": {"queries": [q]}}},
        lambda q: {"query": {"script_score": {"query": q, "script": {"source": "1"}}}},
        lambda q: {"query": {"knn": {"w": {"vector": [1], "k": 2, "filter": q}}}},
        lambda q: {"query": {"has_child": {"type": "c", "query": q}}},
        lambda q: {"rescore": {"window_size": 3, "query": {"rescore_query": q}}},
        lambda q: {"rescore": [{"query": {"rescore_query": q}}]},
        lambda q: {"aggs": {"x": {"filter": q, "aggs": {"y": {"filters": {"filters": {"a": q, "b": q}}}}}}},
        lambda q: {"aggregations": {"x": {"filters": {"filters": [q]}}}},
        lambda q: {"aggs": {"x": {"adjacency_matrix": {"filters": {"a": q}}}}},
        lambda q: {"aggs": {"x": {"significant_terms": {"field": "f", "background_filter": q}}}},
        lambda q: {"sort": [{"f": {"order": "asc", "nested": {"path": "p", "filter": q}}}]},
        lambda q: {"highlight": {"fields": {"f": {"highlight_query": q}}, "highlight_query": q}},
    ],
)
def test_every_place_of_a_query_is_found(place: Any) -> None:
    body = place(NEURAL)
    before = copy.deepcopy(body)
    assert replaced(body) == place(KNN)
    assert body == before


def test_a_filter_inside_of_a_neural_query_is_rewritten_too() -> None:
    inner = {"neural": {"v": {"query_text": "a", "model_id": "m", "filter": {"bool": {"must": [NEURAL]}}}}}
    assert replaced({"query": inner}) == {
        "query": {"knn": {"v": {"vector": [1], "k": 10, "filter": {"bool": {"must": [KNN]}}}}}
    }


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"match": {"neural": "x"}}},
        {"query": {"term": {"neural": {"value": NEURAL}}}},
        {"query": {"terms": {"x": [NEURAL]}}},
        {"_source": ["neural"], "query": {"match_all": {}}},
        {"aggs": {"neural": {"terms": {"field": "x"}}}},
        {"aggs": {"neural": {"top_hits": {"_source": {"neural": {"v": {}}}}}}},
        {"ext": NEURAL},
        {"script_fields": {"neural": {"script": {"source": "1", "params": NEURAL}}}},
        {"query": {"more_like_this": {"like": [{"doc": NEURAL}]}}},
        {"query": {"percolate": {"field": "q", "document": NEURAL}}},
        {"query": {"exists": {"field": "neural"}}},
    ],
)
def test_other_things_called_neural_are_left_alone(body: Any) -> None:
    assert clauses_in(body) == []
    assert replaced(body) is body


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["query", "bool", "must", "aggs", "x", "filter", "nested"]), inner, max_size=3
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_a_body_without_a_clause_is_the_same_object(body: Any) -> None:
    assert with_vectors(body, {}) is body


@given(json_values, json_values)
def test_only_the_clause_changes(must: Any, x: Any) -> None:
    body = {"x": x, "query": {"bool": {"must": must, "should": NEURAL}}, "size": 3}
    found = replaced(body)
    assert found["x"] is x
    assert found["query"]["bool"]["must"] is must
    assert found["query"]["bool"]["should"] == KNN
    assert list(found) == list(body)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ([], "parsing_exception", "[neural] query malformed, no start_object after query name"),
        ({}, "parsing_exception", "[neural] query doesn't support multiple fields, found [neural] and [null]"),
        (
            {"v": {"query_text": "a", "model_id": "x"}, "w": {}},
            "parsing_exception",
            "[neural] query doesn't support multiple fields, found [v] and [w]",
        ),
        ({"v": {"zz": 1}}, "parsing_exception", "[neural] query does not support [zz]"),
        ({"v": {"query_text": ["a"]}}, "parsing_exception", "[neural] unknown token [START_ARRAY] after [query_text]"),
        ({"v": {"query_text": None}}, "parsing_exception", "[neural] unknown token [VALUE_NULL] after [query_text]"),
        ({"v": {"query_text": {}}}, "parsing_exception", "[neural] query does not support [query_text]"),
        ({"v": {"method_parameters": 5}}, "parsing_exception", "[neural] query does not support [method_parameters]"),
        ({"v": {"k": "abc"}}, "number_format_exception", 'For input string: "abc"'),
        (
            {"v": {"model_id": "x"}},
            "illegal_argument_exception",
            "Invalid neural query: Either query_text or query_image must be provided.",
        ),
        (
            {"v": {"query_text": "a"}},
            "illegal_argument_exception",
            "Invalid neural query: model_id must be provided.",
        ),
        (
            {"v": {"query_text": "a", "model_id": "x", "k": 1, "min_score": 0.5}},
            "illegal_argument_exception",
            "Invalid neural query: Only one of k, max_distance, or min_score can be provided",
        ),
    ],
)
def test_bad_clauses_get_the_real_servers_words(value: Any, kind: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        clauses_in({"query": {"neural": value}})
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


async def test_texts_of_one_model_share_a_call_and_each_gets_its_vector() -> None:
    def clause(text: str, model: str) -> Any:
        return {"neural": {"v": {"query_text": text, "model_id": model, "boost": 2}}}

    model = Lengths()
    body = {"query": {"bool": {"should": [clause("aa", "m"), clause("bbb", "m"), clause("aa", "m"), clause("c", "n")]}}}
    found = loads(dumps_exact(await rewritten(body, model)))
    vectors = [c["knn"]["v"]["vector"] for c in found["query"]["bool"]["should"]]
    assert vectors == [[2], [3], [2], [1]]
    assert sorted(model.calls) == [("m", ("aa", "bbb")), ("n", ("c",))]
    assert found["query"]["bool"]["should"][0]["knn"]["v"]["boost"] == 2
