"""`rename_field` of the cluster, for where it stands after a processor of ours (contract/processors.md section 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest
from bridge.processors.hits import fields_of, hits_of, source_of, with_hits
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices

KIND = "rename_field"


class RenameField:
    """See ResponseProcessor. Once one hit had the field, hits without it are no error: the real server does so."""

    def __init__(self, field: str, target: str, *, ignore_missing: bool) -> None:
        self._field = field
        self._target = target
        self._ignore_missing = ignore_missing

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest for a hit without the field."""
        met = False
        renamed = []
        for hit in hits_of(response):
            source, fields = source_of(hit), fields_of(hit)
            changed = dict(hit)
            if self._field in fields:
                met = True
                changed["fields"] = self._moved(fields)
            if source is not None and self._field in source:
                met = True
                changed["_source"] = self._moved(source)
            if not met and not self._ignore_missing:
                raise InvalidRequest(f"Document with id {hit.get('_id')} is missing field {self._field}")
            renamed.append(changed)
        return with_hits(response, renamed) if renamed else response

    def _moved(self, values: Mapping[str, Any]) -> Json:
        kept = {name: value for name, value in values.items() if name not in (self._field, self._target)}
        return {**kept, self._target: values[self._field]}


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> RenameField:
    """Raises InvalidRequest."""
    properties = Properties(KIND, config, tag=tag)
    field, target = properties.text("field"), properties.text("target_field")
    return RenameField(field, target, ignore_missing=properties.flag("ignore_missing"))
