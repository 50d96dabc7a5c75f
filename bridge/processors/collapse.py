"""`collapse` of the cluster, for where it stands after a processor of ours (contract/processors.md section 10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest
from bridge.processors.hits import fields_of, hits_of, source_of, with_hits
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices

KIND = "collapse"


class Collapse:
    """See ResponseProcessor. Keeps the first hit of each value, in order; those without the field are one group."""

    def __init__(self, field: str) -> None:
        self._field = field

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest for a hit with several values in `fields` (500 in the cluster)."""
        first: dict[str, Json] = {}
        for hit in hits_of(response):
            first.setdefault(_group(self._value(hit)), hit)
        return with_hits(response, list(first.values())) if first else response

    def _value(self, hit: Json) -> Any:
        fields, source = fields_of(hit), source_of(hit)
        if self._field in fields:
            values = fields[self._field]
            if len(values) > 1:
                raise InvalidRequest(
                    f"Document {hit.get('_id')} has multiple values for field {self._field}",
                    kind="illegal_state_exception",
                )
            return values[0] if values else None
        return None if source is None else source.get(self._field)


def _group(value: Any) -> str:
    """Equal for values that Java holds for equal: 1, 1.0 and "1" are three."""
    return json.dumps(value, sort_keys=True, default=float)


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> Collapse:
    """Raises InvalidRequest."""
    return Collapse(Properties(KIND, config, tag=tag).text("field"))
