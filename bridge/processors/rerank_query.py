"""The text that a search wants its hits to be ranked by: `ext.rerank.query_context`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest

MAX_PATH = 1000
"""Characters of a `query_text_path`."""


def query_text(source: Mapping[str, Any]) -> str:
    """From the search's source in normal form. Raises InvalidRequest (also where the reference answers 500)."""
    rerank = (source.get("ext") or {}).get("rerank")
    if not isinstance(rerank, dict):
        raise InvalidRequest("rerank needs ext.rerank.query_context in the search's body")
    if "query_context" not in rerank:
        raise InvalidRequest("must specify query_context")
    context = rerank["query_context"]
    if not isinstance(context, dict):
        raise InvalidRequest("query_context must be a map")
    if "query_text" in context:
        if "query_text_path" in context:
            raise InvalidRequest('Cannot specify both "query_text" and "query_text_path"')
        text = context["query_text"]
        if not isinstance(text, str):
            raise InvalidRequest("query_text must be a string")
        return text
    if "query_text_path" in context:
        return _at(source, context["query_text_path"])
    raise InvalidRequest('Must specify either "query_text" or "query_text_path"')


def _at(source: Mapping[str, Any], path: Any) -> str:
    if not isinstance(path, str):
        raise InvalidRequest("query_text_path must be a string")
    if len(path) > MAX_PATH:
        raise InvalidRequest(f"query_text_path exceeded the maximum path length of {MAX_PATH} characters")
    current: Any = source
    for key in path.split("."):
        if isinstance(current, Mapping):
            current = current.get(key)
        elif isinstance(current, list) and key.isdigit() and int(key) < len(current):
            current = current[int(key)]
        else:
            current = None
    if not isinstance(current, str):
        raise InvalidRequest("query_text_path must point to a string field")
    return current
