"""The core's `template` query, filled from the pipeline's context where the context is the bridge's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest
from bridge.pipelines.query_tree import QueryTree

KIND = "template"


def filled(body: Any, attributes: Mapping[str, Any], *, more_to_come: bool) -> Any:
    """`body` with every text `${name}` inside of a `template` query replaced by the attribute of that name.

    With no attributes at all the texts stay, as they do in the cluster. `more_to_come`: processors that run with the
    search may still give attributes, the cluster judges what is left. Raises InvalidRequest for an unknown name.
    """
    if not attributes:
        return body

    def fill(value: Any, _: QueryTree) -> Any:
        found = _filled(value, attributes, more_to_come)
        return {KIND: found} if more_to_come else found

    return QueryTree(fill, KIND).body(body)


def _filled(value: Any, attributes: Mapping[str, Any], more_to_come: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(below, attributes, more_to_come) for key, below in value.items()}
    if isinstance(value, list):
        return [_filled(item, attributes, more_to_come) for item in value]
    if not isinstance(value, str) or not value.startswith("${"):
        return value
    if not value.endswith("}"):
        raise InvalidRequest(f"Unclosed variable in template: {value}")
    name = value[2:-1]
    if name in attributes:
        return attributes[name]
    if more_to_come:
        return value
    raise InvalidRequest(f"Variable not found: {name}")
