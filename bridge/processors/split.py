"""`split` of the cluster, for where it stands after a processor of ours (contract/processors.md section 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest
from bridge.processors import java_pattern
from bridge.processors.hits import fields_of, hits_of, source_of, with_hits
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices

KIND = "split"


class Split:
    """See ResponseProcessor. A value in `_source` that is no text stays; one in `fields` is an error."""

    def __init__(self, field: str, separator: re.Pattern[str], target: str, *, preserve_trailing: bool) -> None:
        self._field = field
        self._separator = separator
        self._target = target
        self._preserve_trailing = preserve_trailing

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest."""
        changed = [self._hit(hit) for hit in hits_of(response)]
        return with_hits(response, changed) if changed else response

    def _hit(self, hit: Json) -> Json:
        changed = dict(hit)
        fields, source = fields_of(hit), source_of(hit)
        if self._field in fields:
            value = next(iter(fields[self._field]), None)
            if not isinstance(value, str):
                raise InvalidRequest(f"field [{self._field}] is not a string, cannot split")
            parts = self._parts(value)
            kept = {name: values for name, values in fields.items() if name != self._target}
            # A field without values is not shown.
            changed["fields"] = {**kept, self._target: parts} if parts else kept
            if not changed["fields"]:
                del changed["fields"]
        if source is not None and isinstance(source.get(self._field), str):
            changed["_source"] = {**source, self._target: self._parts(source[self._field])}
        return changed

    def _parts(self, text: str) -> list[str]:
        return java_pattern.split(self._separator, text, keep_trailing=self._preserve_trailing)


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> Split:
    """Raises InvalidRequest, also for a separator that means something else in Python."""
    properties = Properties(KIND, config, tag=tag)
    field, separator = properties.text("field"), properties.text("separator")
    preserve_trailing = properties.flag("preserve_trailing")
    target = properties.optional_text("target_field")
    pattern = java_pattern.compiled(separator)
    return Split(field, pattern, field if target is None else target, preserve_trailing=preserve_trailing)
