"""Post-process functions on answers of a wrong shape, in the words recorded from the reference."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.connectors.functions import AFTER, after
from bridge.errors import BridgeError, EngineError, InvalidRequest

POST = "connector.post_process."
NO_LISTS = "The embedding should be a non-empty List containing List of Float values."
NO_FLOATS = "The embedding should be a non-empty List containing Float values."
NO_LIST = "Post process function input is not a List."
NO_MAPS = "Post process function input is not a List of Map."
NO_RANKS = "The rerank result should contain index and relevance_score."
NOT_STORED = (
    "arraycopy: element type mismatch: can not cast one of the elements of java.lang.Object[] to the type of the"
    " destination array, java.lang.Number"
)
NOT_CAST = (
    "class java.lang.String cannot be cast to class java.lang.Integer (java.lang.String and java.lang.Integer are"
    " in module java.base of loader 'bootstrap')"
)
NULL = "Can't run post process function as model output is null"


def refusal(function: str, answer: Any, path: str | None = None) -> tuple[type[BridgeError], str]:
    with pytest.raises(BridgeError) as refused:
        after(POST + function, answer, path)
    cause = refused.value.details.get("caused_by")
    return type(refused.value), cause["reason"] if cause else refused.value.reason


@pytest.mark.parametrize(
    ("function", "answer", "reason"),
    [
        ("default.embedding", [1], NO_LISTS),
        ("default.embedding", {"a": 1}, NO_LISTS),
        ("default.embedding", [None], NO_LISTS),
        ("default.embedding", [[]], NO_FLOATS),
        ("default.embedding", [["x"]], NO_FLOATS),
        ("default.embedding", [[[1]]], NO_FLOATS),
        ("default.embedding", None, "json can not be null"),
        ("openai.embedding", {"data": [{"embedding": "x"}]}, NO_LISTS),
        ("openai.embedding", {"data": [{"embedding": [True]}]}, NO_FLOATS),
        ("cohere.embedding", {"embeddings": None}, NULL),
        ("cohere.embedding", {"embeddings": {"a": [1]}}, NO_LIST),
        ("bedrock.embedding", {"embedding": [None]}, NO_FLOATS),
        ("bedrock.embedding", {"embedding": "[1]"}, NO_LIST),
        ("default.rerank", {"a": 1}, NO_MAPS),
        ("default.rerank", [[]], NO_MAPS),
        ("default.rerank", [{"index": 0}], NO_RANKS),
        ("default.rerank", [{"index": 0, "relevance_score": 0.5}, {"relevance_score": 0.5}], NO_RANKS),
        ("default.rerank", None, "json can not be null"),
        ("cohere.rerank", {"results": {}}, NO_LIST),
        ("bedrock.rerank", {"results": []}, "Post process function input is empty."),
        ("bedrock.rerank", {"results": [1]}, "Rerank result is not a Map."),
        ("bedrock.rerank", {"results": [{"index": 0}]}, "Rerank result should have both index and relevanceScore."),
        (
            "bedrock.rerank",
            {"results": [{"index": 0, "relevanceScore": "x"}]},
            "relevanceScore is not BigDecimal or Double.",
        ),
    ],
)
def test_a_wrong_shape_is_refused(function: str, answer: Any, reason: str) -> None:
    assert refusal(function, answer) == (InvalidRequest, reason)


@pytest.mark.parametrize(
    ("function", "answer", "reason"),
    [
        ("openai.embedding", {"x": 1}, "Missing property in path $['data']"),
        ("bedrock.nova.embedding", {}, "Missing property in path $['embeddings']"),
        ("cohere_v2.embedding.int8", {}, "Missing property in path $['embeddings']"),
        ("cohere_v2.embedding.int8", {"embeddings": {}}, "No results for path: $['embeddings']['int8']"),
        ("cohere.rerank", {}, "No results for path: $['results']"),
        (
            "default.embedding",
            [[1, "2"]],
            NOT_STORED,
        ),
        (
            "default.rerank",
            [{"index": "0", "relevance_score": 1.0}],
            NOT_CAST,
        ),
        (
            "cohere.rerank",
            {"results": [{"index": 3, "relevance_score": 0.5}]},
            "Index 3 out of bounds for length 1",
        ),
    ],
)
def test_what_fails_within_the_reference_fails_as_there(function: str, answer: Any, reason: str) -> None:
    assert refusal(function, answer) == (EngineError, reason)


@pytest.mark.parametrize("name", AFTER)
def test_every_function_refuses_an_answer_without_what_it_reads(name: str) -> None:
    if AFTER[name][0] != "$[*]":
        with pytest.raises(EngineError):
            after(name, {"something": "else"}, None)


@pytest.mark.parametrize(
    ("function", "answer", "data"),
    [
        ("default.embedding", [], []),
        ("default.embedding", {}, []),
        ("default.embedding", [[1.5, 2]], [[1.5, 2]]),
        ("openai.embedding", {"data": [{"embedding": [1]}, {}]}, [[1]]),
        ("bedrock.embedding", {"embedding": []}, [[]]),
        ("cohere_v2.embedding.int8", {"embeddings": {"int8": [[1, -2]]}}, [[1, -2]]),
        ("cohere_v2.embedding.int8", {"embeddings": {"int8": [[1.5]]}}, [[1.5]]),
        ("default.rerank", [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 2}], [[2], [0.5]]),
        ("bedrock.rerank", {"results": [{"index": 0, "relevanceScore": 0.5}]}, [[0.5]]),
    ],
)
def test_what_is_taken(function: str, answer: Any, data: list[Any]) -> None:
    tensors = after(POST + function, answer, None)
    assert [list(tensor.data) for tensor in tensors if tensor.data is not None] == data


def test_a_filter_of_the_connector_beats_that_of_the_function() -> None:
    (tensor,) = after(POST + "default.embedding", {"body": [[1.5]]}, "$.body")
    assert tensor.shape == (1,)
    # Texts are read for answers without a function only.
    assert refusal("default.embedding", {"body": "[[1.5]]"}, "$.body") == (InvalidRequest, NO_LIST)
    (tensor,) = after(None, {"body": '{"a": 1}'}, "$.body")
    assert tensor.data_as_map == {"a": 1}
    with pytest.raises(InvalidRequest, match="path can not be null or empty"):
        after(None, {}, "")
    for answer in (None, "x", 5):
        with pytest.raises(InvalidRequest, match="Unsupported response type"):
            after(None, answer, "$.a")
