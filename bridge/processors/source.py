"""A document's JSON, of which untouched members go out as the very bytes that came in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import simplejson

from bridge.errors import InvalidRequest, Unparsable
from bridge.wire import decimal, dumps_exact

_BLANKS = " \t\r\n"


class Source:
    """One JSON object. `fields` are its members; `encode` writes changed ones anew and copies the others' bytes."""

    __slots__ = ("_slices", "_text", "fields")

    def __init__(self, text: str, slices: dict[str, tuple[int, int]], fields: dict[str, Any]) -> None:
        self._text = text
        self._slices = slices
        self.fields = fields

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """`fields` as JSON; a value that is still the object that was read is copied from the input."""
        parts = []
        for name, value in fields.items():
            span = self._slices.get(name)
            if span is not None and self.fields[name] is value:
                parts.append(self._text[span[0] : span[1]].encode())
            else:
                parts.append(json.dumps(name).encode() + b":" + dumps_exact(value))
        return b"{" + b",".join(parts) + b"}"


def read(data: bytes) -> Source:
    """Take a document apart. Raises InvalidRequest with the text of the real server for what is no JSON object."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
        return _members(text)
    except (Unparsable, UnicodeDecodeError, simplejson.JSONDecodeError, RecursionError, IndexError) as error:
        raise InvalidRequest("Failed to parse content to map", kind="parse_exception") from error


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at


def _members(text: str) -> Source:
    at = _skip(text, 0)
    if text[at] != "{":
        raise Unparsable("not an object")
    slices: dict[str, tuple[int, int]] = {}
    fields: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        start = at
        if text[at] != '"':
            raise Unparsable("a name has to be a text")
        name, at = _NAMES.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise Unparsable("a name without a value")
        value, at = _VALUES.raw_decode(text, _skip(text, at + 1))
        if name in fields:
            raise Unparsable(f"Duplicate field '{name}'")
        fields[name], slices[name] = value, (start, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
            if text[at] == "}":
                raise Unparsable("a comma too many")
        elif text[at] != "}":
            raise Unparsable("no comma between members")
    if text[at + 1 :].strip(_BLANKS):
        raise Unparsable("something after the object")
    return Source(text, slices, fields)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unparsable("Duplicate field")
    return found


_NAMES = simplejson.JSONDecoder()
_VALUES = simplejson.JSONDecoder(parse_float=decimal, object_pairs_hook=_once)
