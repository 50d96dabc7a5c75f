"""The pipelines of ours that this bridge knows, at most about a second behind the cluster's documents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog

from bridge.domain.pipeline import StoredPipeline
from bridge.errors import BridgeError, Unavailable
from bridge.pipelines.definitions import IngestPipeline, broken_pipeline, read_ingest
from bridge.pipelines.search_definitions import SearchPipeline, broken_search, read_search
from bridge.processors.ingest import IngestServices
from bridge.processors.search import SearchServices
from bridge.store.documents import Documents
from bridge.store.freshness import keep_fresh

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 1.0
MOST = 10_000
INGEST_KIND = "ingest"
SEARCH_KIND = "search"


class LanePublisher(Protocol):
    """Tells the front doors which requests may concern us."""

    def publish(
        self, *, ingest_pipelines: list[str], search_pipelines: list[str] | None = None, words: list[str] | None = None
    ) -> int: ...


class PipelineCache:
    """Reads are plain dictionary look-ups; a request keeps the pipeline object it looked up, so a change never
    reaches it midway. `run` keeps the cache fresh until `stop`."""

    def __init__(
        self,
        documents: Documents[StoredPipeline],
        services: IngestServices,
        lanes: LanePublisher | None = None,
        *,
        search: SearchServices | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._documents = documents
        self.services = services
        self.search_services = search or SearchServices(predictor=services.predictor)
        self._lanes = lanes
        self._seconds = refresh_seconds
        self._known: dict[str, IngestPipeline] = {}
        self._searches: dict[str, SearchPipeline] = {}
        self._published: tuple[set[str], set[str]] | None = None
        self._lock = asyncio.Lock()
        self._stopped = asyncio.Event()

    def get(self, name: str) -> IngestPipeline | None:
        """The ingest pipeline of ours with this name."""
        return self._known.get(name)

    def search(self, name: str) -> SearchPipeline | None:
        """The search pipeline of ours with this name."""
        return self._searches.get(name)

    def names(self) -> list[str]:
        """Those of the ingest pipelines."""
        return sorted(self._known)

    def search_names(self) -> list[str]:
        """Those of the search pipelines."""
        return sorted(self._searches)

    def __bool__(self) -> bool:
        """Whether there are ingest pipelines of ours."""
        return bool(self._known)

    async def run(self) -> None:
        """Refresh until `stop` is called; a cluster that can't be read leaves everything as it was."""
        await keep_fresh(self.refresh, self._stopped, self._seconds, what="pipelines")

    def stop(self) -> None:
        self._stopped.set()

    async def refresh(self) -> None:
        """Read all definitions anew. Raises ClusterUnavailable, ClusterError."""
        async with self._lock:
            found = await self._documents.search({"match_all": {}}, size=MOST)
            stored = [one.value for one in found]
            self._known = {one.name: self._read(one.name, one.definition) for one in stored if one.kind == INGEST_KIND}
            self._searches = {
                one.name: self._read_search(one.name, one.definition) for one in stored if one.kind == SEARCH_KIND
            }
            self._publish()

    async def put(self, pipeline: IngestPipeline | SearchPipeline) -> None:
        """Store a pipeline and know it at once."""
        kind = SEARCH_KIND if isinstance(pipeline, SearchPipeline) else INGEST_KIND
        stored = StoredPipeline(
            kind=kind,
            name=pipeline.name,
            definition=dict(pipeline.definition),
            last_updated_time=time.time_ns() // 1_000_000,
        )
        async with self._lock:
            await self._documents.put(f"{kind}:{pipeline.name}", stored, refresh=True)
            if isinstance(pipeline, SearchPipeline):
                self._searches = {**self._searches, pipeline.name: pipeline}
            else:
                self._known = {**self._known, pipeline.name: pipeline}
            self._publish()

    async def remove(self, names: Iterable[str], kind: str = INGEST_KIND) -> None:
        """Forget pipelines, here and in the store; unknown names are no error."""
        gone = set(names)
        async with self._lock:
            for name in gone:
                await self._documents.delete(f"{kind}:{name}", refresh=True)
            if kind == SEARCH_KIND:
                self._searches = {name: one for name, one in self._searches.items() if name not in gone}
            else:
                self._known = {name: one for name, one in self._known.items() if name not in gone}
            self._publish()

    def republish(self) -> None:
        """Make the front doors ask again: which pipeline applies to an index may have changed."""
        self._publish(always=True)

    def _read(self, name: str, definition: Mapping[str, Any]) -> IngestPipeline:
        known = self._known.get(name)
        if known is not None and known.definition == definition:
            return known
        try:
            pipeline = read_ingest(name, dict(definition), self.services)
        except BridgeError as error:
            log.error("stored pipeline can't be run", action="pipelines.broken", pipeline=name, reason=error.reason)
            return broken_pipeline(name, definition, error)
        return pipeline or IngestPipeline(name=name, definition=definition, residue=definition)

    def _read_search(self, name: str, definition: Mapping[str, Any]) -> SearchPipeline:
        known = self._searches.get(name)
        if known is not None and known.definition == definition:
            return known
        try:
            pipeline = read_search(name, dict(definition), self.search_services)
        except BridgeError as error:
            log.error("stored pipeline can't be run", action="pipelines.broken", pipeline=name, reason=error.reason)
            return broken_search(name, definition, error)
        if pipeline is None:
            reason = f"search pipeline [{name}] needs another version of this bridge"
            return broken_search(name, definition, Unavailable(reason))
        return pipeline

    def _publish(self, always: bool = False) -> None:
        names = set(self._known), set(self._searches)
        if self._lanes is not None and (always or names != self._published):
            self._lanes.publish(ingest_pipelines=sorted(names[0]), search_pipelines=sorted(names[1]))
            self._published = names
