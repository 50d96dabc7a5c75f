"""Predict bodies to inputs, with the reference's words for what is wrong in them (contract, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import (
    MLInput,
    QuestionAnsweringInput,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import InvalidRequest
from bridge.models.spec import is_asymmetric
from bridge.wire import read_flag, read_integer

TEXT_FUNCTIONS = (FunctionName.TEXT_EMBEDDING, FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE)
_ACTIONS = ("PREDICT", "EXECUTE", "BATCH_PREDICT", "CANCEL_BATCH_PREDICT", "BATCH_PREDICT_STATUS")
_PARAMETER_CLASSES = "org.opensearch.ml.common.input.parameter.textembedding"
_KINDS = ("QUERY", "PASSAGE")
_FORMATS = ("WORD", "TOKEN_ID")


def parse_input(body: Mapping[str, Any], function: FunctionName, model: Model | None) -> MLInput:
    """Read a predict body as `function` reads it, which may be another one than the model's. Without the model nothing
    is checked that depends on it. Raises InvalidRequest."""
    if function is FunctionName.REMOTE:
        return _remote(body)
    if function is FunctionName.TEXT_SIMILARITY:
        return _similarity(body)
    if function is FunctionName.QUESTION_ANSWERING:
        return _question(body)
    if function not in TEXT_FUNCTIONS:
        raise InvalidRequest(f"{function} is not supported for this model")
    return _docs(body, model)


def _docs(body: Mapping[str, Any], model: Model | None) -> TextDocsInput:
    """`result_filter` holds the fields of the filter and replaces those beside it."""
    filters = body.get("result_filter")
    if filters is not None and not isinstance(filters, dict):
        raise InvalidRequest("result_filter must be an object")
    filters = body if filters is None else filters
    parameters = _parameters(body)
    return TextDocsInput(
        text_docs=_texts(body.get("text_docs"), "Empty text docs"),
        return_number=_switch(filters.get("return_number"), True),
        return_bytes=_switch(filters.get("return_bytes"), False),
        target_response=tuple(_scalar(name) for name in _list(filters, "target_response")),
        target_response_positions=tuple(read_integer(value) for value in _list(filters, "target_response_positions")),
        kind=_kind(parameters, model, said=body.get("parameters") is not None),
        token_ids=_constant(parameters, "sparse_embedding_format", "SparseEmbeddingFormat", _FORMATS) == "TOKEN_ID",
    )


def _similarity(body: Mapping[str, Any]) -> TextSimilarityInput:
    texts = _texts(body.get("text_docs"), "No text documents were provided")
    return TextSimilarityInput(query_text=_text(body, "query_text", "No query text was provided"), text_docs=texts)


def _question(body: Mapping[str, Any]) -> QuestionAnsweringInput:
    question = _text(body, "question", "Question is not provided")
    context = _text(body, "context", "Context is not provided")
    if not question or not context:
        raise InvalidRequest("Context is not provided" if question else "Question is not provided")
    return QuestionAnsweringInput(question=question, context=context)


def _remote(body: Mapping[str, Any]) -> RemoteInput:
    """What is no parameter and no action is ignored, `text_docs` too: those need an algorithm in the path."""
    parameters, action = body.get("parameters"), body.get("action_type")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest("parameters must be an object")
    if action is not None and str(action).upper() not in _ACTIONS:
        raise InvalidRequest(f"Wrong Action Type of {action}")
    return RemoteInput(parameters=parameters or {}, action_type=None if action is None else str(action))


def _text(body: Mapping[str, Any], name: str, missing: str) -> str:
    value = body.get(name)
    if value is None:
        raise InvalidRequest(missing)
    if isinstance(value, (dict, list)):
        raise InvalidRequest(f"{name} must be a text")
    return _scalar(value)


def _texts(value: Any, missing: str) -> tuple[str, ...]:
    if value is None or value == []:
        raise InvalidRequest(missing)
    if not isinstance(value, list):
        raise InvalidRequest("text_docs must be an array of texts")
    for item in value:
        if item is None:
            raise InvalidRequest("text_docs must not hold null")
        if isinstance(item, (dict, list)):
            raise InvalidRequest("text_docs must be an array of texts")
    return tuple(item if isinstance(item, str) else _scalar(item) for item in value)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switch(value: Any, default: bool) -> bool:
    return default if value is None else read_flag(value)


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or any(item is None or isinstance(item, (dict, list)) for item in value):
        raise InvalidRequest(f"{name} must be an array of plain values")
    return value


def _parameters(body: Mapping[str, Any]) -> Mapping[str, Any]:
    value = body.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest("parameters must be an object")
    return value


def _constant(parameters: Mapping[str, Any], name: str, kind: str, known: Sequence[str]) -> str | None:
    said = parameters.get(name)
    if said is None:
        return None
    upper = _scalar(said).upper()
    if upper not in known:
        raise InvalidRequest(f"No enum constant {_PARAMETER_CLASSES}.{kind}.{upper}")
    return upper


def _kind(parameters: Mapping[str, Any], model: Model | None, *, said: bool) -> str | None:
    """Which prefix the texts get; that of a query where parameters are `said` without it.

    ML Commons has the same rules, but answers 500 where one is broken.
    """
    named = _constant(parameters, "content_type", "AsymmetricTextEmbeddingParameters.EmbeddingContentType", _KINDS)
    if model is None:
        return None if named is None else named.lower()
    if model.algorithm in (FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE):
        return None
    if named is None and is_asymmetric(model):
        if said:
            return "query"
        raise InvalidRequest(
            "The embedding model chosen is asymmetric. To use it, you must declare whether the input is of type `QUERY`"
            " or of type `PASSAGE`."
        )
    if named is not None and not is_asymmetric(model):
        raise InvalidRequest(
            "When passing AsymmetricTextEmbeddingParameters, the model requires to be registered with at least one of"
            " `query_prefix` or `passage_prefix`."
        )
    return None if named is None else named.lower()
