"""Predict inputs between processes and nodes: JSON objects with the fields of the domain's classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bridge.domain.tensor import LocalInput, QuestionAnsweringInput, TextDocsInput, TextSimilarityInput
from bridge.engines.faults import EngineFault, FaultCode

_MARKS: tuple[tuple[str, type[LocalInput]], ...] = (
    ("question", QuestionAnsweringInput),
    ("query_text", TextSimilarityInput),
    ("text_docs", TextDocsInput),
)
"""Each class by the first field that no class before it has."""


def to_json(input: LocalInput) -> dict[str, Any]:
    """An object that any JSON writer takes: halves of surrogate pairs are replaced, defaults left out."""
    found = {field.name: (getattr(input, field.name), field.default) for field in fields(input)}
    return {name: _whole(value) for name, (value, default) in found.items() if value != default}


def from_json(value: Mapping[str, Any]) -> LocalInput:
    """What `to_json` wrote. Raises EngineFault(BAD_INPUT)."""
    kind = next((kind for mark, kind in _MARKS if mark in value), None)
    if kind is None:
        raise EngineFault(FaultCode.BAD_INPUT, "this input does not fit any local model")
    names = {field.name for field in fields(kind)}
    known: dict[str, Any] = {}
    for name in names & value.keys():
        known[name] = tuple(value[name]) if isinstance(value[name], list) else value[name]
    try:
        return kind(**known)
    except TypeError as error:
        raise EngineFault(FaultCode.BAD_INPUT, f"this input does not fit any local model: {error}") from None


def whole(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair: JSON can carry one, but it is no Unicode text."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, tuple):
        return tuple(_whole(item) for item in value)
    return value
