"""Dot paths into a document, as neural-search reads them."""

from __future__ import annotations

from typing import Any, Final

from bridge.processors.search import Json

ABSENT: Final = object()
"""What stands at a path that a document does not have."""


def at_path(source: Json, path: str) -> Any:
    """The value; below a list, the list of what its objects have there. ABSENT at a dead end.

    A list that begins with a text stands in a list of its own: neural-search holds it for one value.
    """
    current: Any = source
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if isinstance(current, dict):
            current = current.get(key, ABSENT)
            if depth == len(keys) - 1 and isinstance(current, list) and current and isinstance(current[0], str):
                return [current]
        elif isinstance(current, list):
            found = [item.get(key) for item in current if isinstance(item, dict)]
            current = [value for value in found if value is not None] or ABSENT
        else:
            return ABSENT
    return current


def without(source: Json, path: str) -> Json:
    """The document without what stands at a path, and without the objects that this leaves empty."""
    kept = _without(source, path.split("."))
    return kept if isinstance(kept, dict) else {}


def _without(value: Any, keys: list[str]) -> Any:
    """ABSENT when nothing is left."""
    if isinstance(value, list):
        return [kept for kept in (_without(item, keys) for item in value) if kept is not ABSENT]
    if not isinstance(value, dict) or keys[0] not in value:
        return value
    inner = _without(value[keys[0]], keys[1:]) if len(keys) > 1 else ABSENT
    rest = {key: inner if key == keys[0] else one for key, one in value.items()}
    return {key: one for key, one in rest.items() if one is not ABSENT} or ABSENT
