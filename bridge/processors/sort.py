"""`sort` of the cluster, for where it stands after a processor of ours (contract/processors.md section 10)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from bridge.errors import InvalidRequest
from bridge.processors.hits import fields_of, hits_of, source_of, with_hits
from bridge.processors.java_text import utf16
from bridge.processors.properties import Properties, java_type
from bridge.processors.search import Json, SearchContext, SearchServices

KIND = "sort"


class Sort:
    """See ResponseProcessor. Lists are sorted; one value in `_source` stays as it is."""

    def __init__(self, field: str, target: str, *, descending: bool) -> None:
        self._field = field
        self._target = target
        self._descending = descending

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest for a list that has no order."""
        changed = [self._hit(hit) for hit in hits_of(response)]
        return with_hits(response, changed) if changed else response

    def _hit(self, hit: Json) -> Json:
        changed = dict(hit)
        fields, source = fields_of(hit), source_of(hit)
        if self._field in fields:
            changed["fields"] = {**fields, self._target: self._sorted(fields[self._field])}
        if source is not None and isinstance(source.get(self._field), list):
            changed["_source"] = {**source, self._target: self._sorted(source[self._field])}
        return changed

    def _sorted(self, values: list[Any]) -> list[Any]:
        for value in values:
            if value is None:
                raise InvalidRequest(f"field [{self._field}] contains a null value.]")
            if isinstance(value, (dict, list)):
                raise InvalidRequest(f"field [{self._field}] of type [{java_type(value)}] is not comparable.]")
        kinds = {_kind(value) for value in values}
        if len(kinds) > 1:
            # A class cast exception, 500, in the cluster.
            raise InvalidRequest(f"field [{self._field}] holds values of several types, which have no order")
        key = _KEYS[kinds.pop()] if kinds else None
        return sorted(values, key=key, reverse=self._descending)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def _number(value: Any) -> tuple[Any, float]:
    exact = value if isinstance(value, (int, Decimal)) else Decimal(repr(value))
    # Java puts -0.0 before 0.0.
    return exact, math.copysign(1.0, float(value)) if exact == 0 else 0.0


_KEYS: dict[str, Callable[[Any], Any]] = {"flag": bool, "text": utf16, "number": _number}


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> Sort:
    """Raises InvalidRequest."""
    properties = Properties(KIND, config, tag=tag)
    field = properties.text("field")
    target = properties.optional_text("target_field")
    order = properties.optional_text("order") or "asc"
    if order not in ("asc", "desc"):
        raise properties.wrong("order", f"Sort direction [{order}] not recognized. Valid values are: [asc, desc]")
    return Sort(field, field if target is None else target, descending=order == "desc")
