"""The body that a processor builds for a model, read as the predict API reads it for that function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.domain.names import FunctionName
from bridge.domain.tensor import (
    MLInput,
    QuestionAnsweringInput,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import InvalidRequest, Unparsable
from bridge.processors.template import json_text

TEXT_KEYS = frozenset(("text_docs", "query_text", "question", "context"))
"""Keys of a payload for a local function whose values are texts, whatever the texts look like."""
_TEXT_FUNCTIONS = (FunctionName.TEXT_EMBEDDING, FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE)


def function_of(name: str) -> FunctionName:
    """Raises InvalidRequest."""
    try:
        return FunctionName(name.upper())
    except ValueError:
        raise InvalidRequest("Wrong function name") from None


def input_of(payload: Any, function: FunctionName, templates: frozenset[str] = frozenset()) -> MLInput:
    """The model's input. `templates`: see RemoteInput. A single text in the place of a list is a list of one.

    Raises InvalidRequest.
    """
    if isinstance(payload, list):
        reason = "Failed to parse object: expecting token of type [START_OBJECT] but found [START_ARRAY]"
        raise Unparsable(reason, line=1, col=1)
    if not isinstance(payload, dict):
        raise InvalidRequest(f"Invalid payload: {json_text(payload)}")
    if function is FunctionName.REMOTE:
        return _remote(payload, templates)
    if function is FunctionName.TEXT_SIMILARITY:
        query = _given(payload, "query_text", "No query text was provided")
        _given(payload, "text_docs", "No text documents were provided")
        return TextSimilarityInput(query_text=_text(query, "query_text"), text_docs=_texts(payload.get("text_docs")))
    if function is FunctionName.QUESTION_ANSWERING:
        question = _given(payload, "question", "Question is not provided")
        context = _given(payload, "context", "Context is not provided")
        return QuestionAnsweringInput(question=_text(question, "question"), context=_text(context, "context"))
    if function in _TEXT_FUNCTIONS:
        return _text_docs(payload)
    raise InvalidRequest(f"{function} is not supported in ML Inference Processor")


def _remote(payload: Mapping[str, Any], templates: frozenset[str]) -> RemoteInput:
    parameters = payload.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest(f"Invalid payload: {json_text(payload)}")
    action = payload.get("action_type")
    return RemoteInput(
        parameters=parameters or {},
        action_type=None if action is None else json_text(action),
        templates=templates,
    )


def _text_docs(payload: Mapping[str, Any]) -> TextDocsInput:
    parameters = payload.get("parameters")
    kind = parameters.get("content_type") if isinstance(parameters, dict) else None
    return TextDocsInput(
        text_docs=_texts(payload.get("text_docs")),
        return_number=_switch(payload.get("return_number"), True),
        return_bytes=_switch(payload.get("return_bytes"), False),
        target_response=tuple(json_text(name) for name in _list(payload, "target_response")),
        target_response_positions=tuple(_position(at) for at in _list(payload, "target_response_positions")),
        kind=None if kind is None else json_text(kind).lower(),
    )


def _given(payload: Mapping[str, Any], name: str, problem: str) -> Any:
    value = payload.get(name)
    if value is None or value in ("", []):
        raise InvalidRequest(problem)
    return value


def _text(value: Any, name: str) -> str:
    if value is None or isinstance(value, dict | list):
        raise InvalidRequest(f"{name} must be a text")
    return json_text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        raise InvalidRequest("Empty text docs")
    return tuple(_text(item, "each of text_docs") for item in (value if isinstance(value, list) else [value]))


def _list(payload: Mapping[str, Any], name: str) -> list[Any]:
    value = payload.get(name)
    if value is not None and not isinstance(value, list):
        raise InvalidRequest(f"{name} must be an array")
    return value or []


def _switch(value: Any, default: bool) -> bool:
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise InvalidRequest(f"Failed to parse value [{json_text(value)}] as only [true] or [false] are allowed.")


def _position(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f'For input string: "{json_text(value)}"', kind="number_format_exception") from error
