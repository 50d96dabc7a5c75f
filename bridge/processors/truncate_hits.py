"""`truncate_hits` of the cluster, for where it stands after a processor of ours (contract/processors.md section 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import InvalidRequest
from bridge.processors.hits import hits_of, with_hits
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices

KIND = "truncate_hits"
ORIGINAL_SIZE = "original_size"


class TruncateHits:
    """See ResponseProcessor. Without a size of its own it takes what `oversample` has left under `key`."""

    def __init__(self, size: int | None, key: str) -> None:
        self._size = size
        self._key = key

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest when no size is known (500 in the cluster)."""
        size = self._size
        if size is None:
            left = context.attributes.get(self._key)
            if not isinstance(left, int):
                raise InvalidRequest(
                    f"Must specify target_size unless an earlier processor set {self._key}",
                    kind="illegal_state_exception",
                )
            size = left
        hits = hits_of(response)
        return with_hits(response, hits[:size]) if len(hits) > size else response


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> TruncateHits:
    """Raises InvalidRequest."""
    properties = Properties(KIND, config, tag=tag)
    size = properties.integer("target_size", -1)
    prefix = properties.optional_text("context_prefix")
    return TruncateHits(size if size >= 0 else None, f"{prefix}.{ORIGINAL_SIZE}" if prefix else ORIGINAL_SIZE)
