"""What writes have in common: which pipelines of ours a document goes through, and taking it through them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from aiohttp import web

from bridge.domain.caller import CALLER, Caller
from bridge.errors import BridgeError, ClusterUnavailable, InvalidRequest
from bridge.pipelines.definitions import IngestPipeline
from bridge.pipelines.run import run_ingest
from bridge.processors.ingest import IngestDocument, Outcome, StoredFields
from bridge.processors.source import Source, read
from bridge.proxy.slow.resolve import NONE, NOTHING, Applied
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import sent_headers

SLICE = 256
"""Documents that are decoded in one go: a long bulk lets other requests in between."""
SLICES_AT_ONCE = 4


@dataclass(frozen=True)
class Plan:
    """The pipelines of ours for one document, in the order they run; `error` says why it can't be written."""

    pipelines: tuple[IngestPipeline, ...] = ()
    error: BridgeError | None = None

    def __bool__(self) -> bool:
        return bool(self.pipelines) or self.error is not None


CLEAR = Plan()


@dataclass(frozen=True)
class RawDocument:
    """A document as it was sent."""

    source: bytes
    index: str | None = None
    id: str | None = None
    routing: str | None = None


class Writes:
    """Plans writes and embeds documents; holds no state of a request."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services

    async def applied(self, index: str | None, headers: Mapping[str, str]) -> Applied:
        """The pipelines that an index brings; nothing for what is no single index."""
        if not index or index.startswith("_") or "*" in index or "," in index:
            return NOTHING
        return await self._services.resolver.applied(index, headers)

    def plan(self, named: str | None, applied: Applied) -> Plan:
        """`named` is the pipeline that the request or the item asks for; it stands instead of the index's default."""
        first = named if named is not None else applied.default
        first = None if first == NONE else first
        ours = self._services.pipelines.get(first) if first is not None else None
        final = self._services.pipelines.get(applied.final) if applied.final is not None else None
        if final is not None and first is not None and (ours is None or ours.has_native):
            return Plan(
                error=InvalidRequest(
                    f"final pipeline [{final.name}] runs in this bridge, and pipeline [{first}] before it has "
                    "processors that run in the cluster: their order could not be kept"
                )
            )
        found = tuple(pipeline for pipeline in (ours, final) if pipeline is not None)
        return Plan(found) if found else CLEAR

    async def embed(
        self, plan: Plan, documents: Sequence[RawDocument], request: web.Request
    ) -> list[bytes | BridgeError]:
        """The bytes to send for each document, or why it may not be written; models run for who sent the request."""
        if plan.error is not None:
            return [plan.error for _ in documents]
        slots = asyncio.Semaphore(SLICES_AT_ONCE)

        async def embed(some: Sequence[RawDocument]) -> list[bytes | BridgeError]:
            async with slots:
                return await self._embed(plan, some, request)

        slices = [documents[at : at + SLICE] for at in range(0, len(documents), SLICE)]
        return [result for results in await asyncio.gather(*map(embed, slices)) for result in results]

    async def _embed(
        self, plan: Plan, documents: Sequence[RawDocument], request: web.Request
    ) -> list[bytes | BridgeError]:
        sources = [_read(document.source) for document in documents]
        results: list[bytes | BridgeError] = [s if isinstance(s, BridgeError) else b"" for s in sources]
        alive = [(place, source) for place, source in enumerate(sources) if isinstance(source, Source)]
        inputs = [_input(documents[place], source, request.get(CALLER)) for place, source in alive]
        outcomes = await _through_all(plan.pipelines, inputs, self._stored(request.headers))
        for (place, source), outcome in zip(alive, outcomes, strict=True):
            results[place] = outcome if isinstance(outcome, BridgeError) else source.encode(outcome)
        return results

    def _stored(self, headers: Mapping[str, str]) -> StoredFields:
        sent = sent_headers(headers, replaced=True)
        sent.popall("Content-Type", None)

        async def stored(document: IngestDocument) -> Mapping[str, Any] | None:
            target = f"/{quote(document.index or '', safe='')}/_doc/{quote(document.id or '', safe='')}"
            if document.routing is not None:
                target += f"?routing={quote(document.routing, safe='')}"
            reply = await self._services.upstream.exchange("GET", target, sent)
            if reply.status >= 500 or reply.status == 429:
                raise ClusterUnavailable(f"The cluster answered {reply.status} to reading the stored document.")
            found = reply.json().get("_source") if reply.status == 200 else None
            return found if isinstance(found, Mapping) else None

        return stored


async def _through_all(
    pipelines: Sequence[IngestPipeline], inputs: Sequence[IngestDocument], stored: StoredFields
) -> list[Outcome]:
    outcomes: list[Outcome] = [document.fields for document in inputs]
    for pipeline in pipelines:
        places, documents = [], []
        for place, outcome in enumerate(outcomes):
            if not isinstance(outcome, BridgeError):
                places.append(place)
                documents.append(replace(inputs[place], fields=outcome))
        for place, outcome in zip(places, await run_ingest(pipeline, documents, stored), strict=True):
            outcomes[place] = outcome
    return outcomes


def _read(source: bytes) -> Source | BridgeError:
    try:
        return read(source)
    except BridgeError as error:
        return error


def _input(document: RawDocument, source: Source, caller: Caller | None) -> IngestDocument:
    return IngestDocument(
        fields=source.fields, index=document.index, id=document.id, routing=document.routing, caller=caller
    )
