"""The hits of a search's answer, read and put back without changing the answer in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.processors.search import Json


def hits_of(response: Json) -> list[Json]:
    """The list `hits.hits`; empty where there is none."""
    hits = response.get("hits")
    found = hits.get("hits") if isinstance(hits, dict) else None
    return found if isinstance(found, list) else []


def total_of(response: Json) -> int:
    """How many documents matched; the number of hits where that was not counted (`track_total_hits: false`)."""
    hits = response.get("hits") or {}
    total = hits.get("total")
    if isinstance(total, dict):
        total = total.get("value")
    return total if isinstance(total, int) and total >= 0 else len(hits_of(response))


def with_hits(response: Json, hits: Sequence[Json], **more: Any) -> Json:
    """The answer with other hits; `more` are fields of `hits` beside the list."""
    return {**response, "hits": {**response.get("hits", {}), **more, "hits": list(hits)}}


def source_of(hit: Json) -> Json | None:
    """The document as far as it was asked for; None when it was not."""
    source = hit.get("_source")
    return source if isinstance(source, dict) else None


def fields_of(hit: Json) -> dict[str, list[Any]]:
    """What `fields`, `docvalue_fields`, `stored_fields` and script fields gave."""
    fields = hit.get("fields")
    return fields if isinstance(fields, dict) else {}
