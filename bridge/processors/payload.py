"""The body that a processor builds for a model, read as the predict API reads it for that function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, RemoteInput
from bridge.errors import InvalidRequest, Unparsable
from bridge.models.predict_input import parse_input
from bridge.processors.template import json_text

TEXT_KEYS = frozenset(("text_docs", "query_text", "question", "context"))
"""Keys of a payload for a local function whose values are texts, whatever the texts look like."""


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
    texts = payload.get("text_docs")
    if function is not FunctionName.REMOTE and texts is not None and not isinstance(texts, list):
        payload = {**payload, "text_docs": [texts]}
    found = parse_input(payload, function, None)
    return replace(found, templates=templates) if isinstance(found, RemoteInput) else found
