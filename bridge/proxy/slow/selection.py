"""Which search pipeline a search goes through (contract/processors.md section 1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import InvalidRequest
from bridge.pipelines.cache import PipelineCache
from bridge.pipelines.search_definitions import AD_HOC, SearchPipeline, read_search
from bridge.proxy.slow.pit import indices_of
from bridge.proxy.slow.search_defaults import SearchDefaults
from bridge.wire import dumps_exact, loads


@dataclass(frozen=True)
class Asked:
    """What a search says of its pipeline: `named` in the URL, `target` the decoded list of indices in the path or in
    the header of an item, `resolving` the parameters about wildcards and missing indices, `caller` a name."""

    body: Mapping[str, Any]
    target: str | None = None
    named: str | None = None
    resolving: Mapping[str, str] | None = None
    caller: str = ""


class Selection:
    """Finds pipelines of ours; None is everything that the cluster does by itself."""

    def __init__(self, pipelines: PipelineCache, defaults: SearchDefaults) -> None:
        self._pipelines = pipelines
        self._defaults = defaults

    async def of(self, asked: Asked, headers: Mapping[str, str]) -> SearchPipeline | None:
        """The pipeline of ours for this search.

        Raises InvalidRequest for an inline pipeline with a wrong processor of ours or beside a named one, and what
        looking up settings raises.
        """
        inline = asked.body.get("search_pipeline")
        if isinstance(inline, Mapping):
            if asked.named is not None:
                raise InvalidRequest(
                    "Both named and inline search pipeline were specified. Please only specify one or the other."
                )
            # Read as a stored definition is: numbers are what processors know.
            definition = loads(dumps_exact(inline))
            return read_search(AD_HOC, definition, self._pipelines.search_services)
        name = asked.named if asked.named is not None else inline
        if name is None and self._pipelines.search_names():
            name = await self.default(asked, headers)
        found = self._pipelines.search(name) if isinstance(name, str) else None
        if found is not None and found.broken is not None:
            raise found.broken
        return found

    async def default(self, asked: Asked, headers: Mapping[str, str]) -> str | None:
        """The pipeline that the indices bring along."""
        target = asked.target
        pit = asked.body.get("pit")
        if isinstance(pit, Mapping) and isinstance(pit.get("id"), str):
            target = _of_pit(pit["id"])
        if not target:
            return None
        return await self._defaults.of(target, asked.resolving or {}, headers, caller=asked.caller)

    def ours(self, name: str | None) -> bool:
        """Whether this is the name of a pipeline of ours."""
        return name is not None and self._pipelines.search(name) is not None


def _of_pit(pit_id: str) -> str | None:
    try:
        return ",".join(indices_of(pit_id))
    except InvalidRequest:
        # The cluster will say so in its own words.
        return None
