"""Predict bodies of every function: what they become, and how mistakes are refused."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import QuestionAnsweringInput, RemoteInput, TextDocsInput, TextSimilarityInput
from bridge.errors import InvalidRequest
from bridge.models.predict_input import parse_input

EMBEDDING, SPARSE, TOKENIZE = (
    FunctionName.TEXT_EMBEDDING,
    FunctionName.SPARSE_ENCODING,
    FunctionName.SPARSE_TOKENIZE,
)
SIMILARITY, ANSWERING, REMOTE = (
    FunctionName.TEXT_SIMILARITY,
    FunctionName.QUESTION_ANSWERING,
    FunctionName.REMOTE,
)
PREFIXED = {"query_prefix": "query: "}


def read(body: dict[str, Any], function: FunctionName, config: dict[str, Any] | None = None) -> Any:
    return parse_input(body, function, Model(name="m", algorithm=function, model_config=config))


@pytest.mark.parametrize(
    ("function", "body", "wanted"),
    [
        (EMBEDDING, {"text_docs": ["a", 1, True]}, TextDocsInput(text_docs=("a", "1", "true"))),
        (
            EMBEDDING,
            {"text_docs": ["a"], "return_number": "false", "return_bytes": True, "target_response": ["x", 1]},
            TextDocsInput(text_docs=("a",), return_number=False, return_bytes=True, target_response=("x", "1")),
        ),
        (
            EMBEDDING,
            {"text_docs": ["a"], "return_bytes": True, "result_filter": {"target_response_positions": ["1", 2]}},
            TextDocsInput(text_docs=("a",), target_response_positions=(1, 2)),
        ),
        (
            SPARSE,
            {"text_docs": ["a"], "parameters": {"sparse_embedding_format": "Token_Id", "content_type": "query"}},
            TextDocsInput(text_docs=("a",), token_ids=True),
        ),
        (
            TOKENIZE,
            {"text_docs": [""], "parameters": {"sparse_embedding_format": "word"}},
            TextDocsInput(text_docs=("",)),
        ),
        (SIMILARITY, {"query_text": "", "text_docs": [1]}, TextSimilarityInput(query_text="", text_docs=("1",))),
        (ANSWERING, {"question": 1, "context": "c"}, QuestionAnsweringInput(question="1", context="c")),
        (REMOTE, {"parameters": {"a": 1}, "text_docs": []}, RemoteInput(parameters={"a": 1})),
        (REMOTE, {"action_type": "predict"}, RemoteInput(parameters={}, action_type="predict")),
    ],
)
def test_what_bodies_become(function: FunctionName, body: dict[str, Any], wanted: Any) -> None:
    assert read(body, function) == wanted


def test_prefixes_follow_the_kind() -> None:
    for said in ("query", "PASSAGE"):
        asked = read({"text_docs": ["a"], "parameters": {"content_type": said}}, EMBEDDING, PREFIXED)
        assert asked.kind == said.lower()
    assert read({"text_docs": ["a"], "parameters": {}}, EMBEDDING, PREFIXED).kind == "query"


@pytest.mark.parametrize(
    ("function", "body", "config", "reason"),
    [
        (EMBEDDING, {}, None, "Empty text docs"),
        (EMBEDDING, {"text_docs": "a"}, None, "text_docs must be an array of texts"),
        (EMBEDDING, {"text_docs": [None]}, None, "text_docs must not hold null"),
        (
            EMBEDDING,
            {"text_docs": ["a"], "target_response": "x"},
            None,
            "target_response must be an array of plain values",
        ),
        (EMBEDDING, {"text_docs": ["a"], "target_response": [None]}, None, "target_response must be"),
        (EMBEDDING, {"text_docs": ["a"], "target_response_positions": ["x"]}, None, 'For input string: "x"'),
        (EMBEDDING, {"text_docs": ["a"], "target_response_positions": [True]}, None, "VALUE_BOOLEAN) not numeric"),
        (EMBEDDING, {"text_docs": ["a"], "parameters": None}, PREFIXED, "The embedding model chosen is asymmetric"),
        (EMBEDDING, {"text_docs": ["a"], "result_filter": []}, None, "result_filter must be an object"),
        (EMBEDDING, {"text_docs": ["a"], "parameters": "x"}, None, "parameters must be an object"),
        (EMBEDDING, {"text_docs": ["a"]}, PREFIXED, "The embedding model chosen is asymmetric"),
        (
            EMBEDDING,
            {"text_docs": ["a"], "parameters": {"content_type": "query"}},
            None,
            "registered with at least one",
        ),
        (EMBEDDING, {"text_docs": ["a"], "parameters": {"content_type": "x"}}, PREFIXED, "EmbeddingContentType.X"),
        (SPARSE, {"text_docs": ["a"], "parameters": {"sparse_embedding_format": 1}}, None, "SparseEmbeddingFormat.1"),
        (SIMILARITY, {}, None, "No text documents were provided"),
        (SIMILARITY, {"text_docs": ["a"]}, None, "No query text was provided"),
        (SIMILARITY, {"text_docs": ["a"], "query_text": {}}, None, "query_text must be a text"),
        (ANSWERING, {"context": "a"}, None, "Question is not provided"),
        (ANSWERING, {"question": "a", "context": ""}, None, "Context is not provided"),
        (REMOTE, {"parameters": []}, None, "parameters must be an object"),
        (REMOTE, {"action_type": "dance"}, None, "Wrong Action Type of dance"),
        (FunctionName.KMEANS, {"text_docs": ["a"]}, None, "KMEANS is not supported for this model"),
    ],
)
def test_mistakes_are_refused(
    function: FunctionName, body: dict[str, Any], config: dict[str, Any] | None, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body, function, config)
    assert reason in refused.value.reason and refused.value.status == 400
