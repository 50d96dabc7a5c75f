"""A service's answer as a JSON value without lost digits, and JSON texts within it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

from bridge.errors import InvalidRequest, Unparsable
from bridge.wire import loads_exact

_DIGITS = 19
"""The fewest digits of an integer that 64 bits may not hold."""
_SHAPES = bytes(ord("0") if 48 <= code <= 57 else ord(".") if code == ord(".") else ord(" ") for code in range(256))
_LONG_INTEGER = b" " + b"0" * _DIGITS


def read(answer: bytes) -> Any:
    """The value, as the reference reads it: integers of any size, decimals as floats, `1e400` as "Infinity", a lone
    surrogate as itself, bytes that are no UTF-8 as U+FFFD. Of a field given twice the last stays.

    Raises InvalidRequest for what is no JSON.
    """
    try:
        # Where no integer is long, the fast reader loses nothing (digits behind a point are a decimal's).
        if _LONG_INTEGER not in (b" " + answer).translate(_SHAPES):
            return orjson.loads(answer)
    except orjson.JSONDecodeError:
        pass
    text = answer.decode("utf-8", "replace")
    try:
        return json.loads(text, parse_float=_float, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _not_json(text, str(error)) from None


def _not_json(text: str, otherwise: str) -> InvalidRequest:
    """The refusal in the words of the cluster's parser, where it has some."""
    cause = {"type": "json_parse_exception", "reason": otherwise}
    try:
        loads_exact(text)
    except Unparsable as error:
        cause = {"type": error.kind, "reason": error.reason}
    return InvalidRequest(f"Invalid JSON format: {cause['reason']}", caused_by=cause)


def read_text(found: Any) -> Any:
    """What a filter found; where that is the text of a JSON object or array, the object or array."""
    if not isinstance(found, str) or found.strip()[:1] not in ("{", "["):
        return found
    try:
        return read(found.encode("utf-8", "surrogatepass"))
    except InvalidRequest:
        return found


def _float(text: str) -> float | str:
    number = float(text)
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
