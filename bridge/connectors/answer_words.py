"""Words for what does not fit a service's answer, as the reference has them (ML Commons 3.6.0, Jayway's JsonPath)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bridge.errors import EngineError, InvalidRequest
from bridge.wire import dumps_exact

CONTAINERS = frozenset((dict, list))
"""The types of JSON values that hold others."""
_SHOWN = 300


def is_container(value: Any) -> bool:
    """Whether a JSON value is an object or an array."""
    return type(value) in CONTAINERS


def java_class(value: Any) -> str:
    """The class that a JSON value has in the reference, as its reasons name it."""
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return "java.lang.Integer"
        return "java.lang.Long" if -(2**63) <= value < 2**63 else "java.math.BigInteger"
    names = {dict: "java.util.LinkedHashMap", list: "net.minidev.json.JSONArray", type(None): "null"}
    return names.get(type(value)) or ("java.lang.String" if isinstance(value, str) else "java.lang.Double")


def java_text(value: Any) -> str:
    """A value as the reference prints it in a reason, but not more than `_SHOWN` characters of it."""
    text = ""
    for piece in _pieces(value, quoted=False):
        text += piece
        if len(text) > _SHOWN:
            return text[:_SHOWN] + "..."
    return text


def _pieces(value: Any, *, quoted: bool) -> Iterator[str]:
    """Maps as Java prints them, arrays (and all in them, `quoted`) as JSON."""
    if is_container(value):
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        quoted = quoted or isinstance(value, list)
        yield opened
        for number, (key, inner) in enumerate(value.items() if isinstance(value, dict) else enumerate(value)):
            yield ("," if quoted else ", ") if number else ""
            if isinstance(value, dict):
                yield dumps_exact(key).decode("utf-8") + ":" if quoted else f"{key}="
            yield from _pieces(inner, quoted=quoted)
        yield closed
    elif isinstance(value, str):
        yield dumps_exact(value[:_SHOWN]).decode("utf-8") if quoted else value[: _SHOWN + 1]
    else:
        yield dumps_exact(value).decode("utf-8")


def failed(kind: str, reason: str) -> EngineError:
    """A predict that failed on the service's answer, as ML Commons tells it; `kind` and `reason` are the cause's."""
    # "aws" stands there for http connectors, too.
    return EngineError(
        "Fail to execute PREDICT in aws connector", kind="m_l_exception", caused_by={"type": kind, "reason": reason}
    )


def no_path(path: str) -> InvalidRequest:
    """For a text that JSONPath's grammar does not have."""
    return InvalidRequest(f"{path} is not a JSON path")
