"""`_bulk`: documents for pipelines of ours are embedded together, everything else goes on as the bytes it came in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bridge.errors import BridgeError
from bridge.proxy.slow.bulk_body import BulkItem, error_result, read_bulk, write_bulk
from bridge.proxy.slow.presentation import shaped, unshaped
from bridge.proxy.slow.resolve import Applied
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import json_answer, read_body, reply_answer, sent_headers
from bridge.proxy.slow.writes import Plan, RawDocument, Writes

_NDJSON = "application/x-ndjson"


class Bulk:
    """An item whose embedding failed is never sent; its error stands at its place in the answer."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._writes = Writes(services)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`/_bulk` and `/{index}/_bulk`."""
        upstream = self._services.upstream
        if not self._services.pipelines:
            return await upstream.pass_on(request)
        body = await read_body(request, self._services.max_body)
        # A long body takes a while to take apart: other requests go on meanwhile.
        items = await asyncio.to_thread(read_bulk, body, request.match_info.get("index"))
        plans = await self._plans(items, request) if items else []
        if not items or not any(plans):
            return await upstream.pass_on(request, body=body)
        started = time.monotonic()
        sources, failed = await self._embedded(items, plans, request)
        changed = write_bulk(items, sources, failed)
        if not failed:
            return await upstream.pass_on(request, body=changed, content_type=_NDJSON)
        spent = int((time.monotonic() - started) * 1000)
        return await self._with_failures(request, changed, items, failed, spent)

    async def _plans(self, items: Sequence[BulkItem], request: web.Request) -> list[Plan]:
        indices = list({item.index for item in items if item.indexes})
        found = await asyncio.gather(*(self._writes.applied(index, request.headers) for index in indices))
        applied = dict(zip(indices, found, strict=True))
        named = request.query.get("pipeline")
        known: dict[tuple[str | None, Applied], Plan] = {}
        plans = []
        for item in items:
            if not item.indexes:
                plans.append(Plan())
                continue
            key = (item.pipeline if item.pipeline is not None else named, applied[item.index])
            if key not in known:
                known[key] = self._writes.plan(*key)
            plans.append(known[key])
        return plans

    async def _embedded(
        self, items: Sequence[BulkItem], plans: Sequence[Plan], request: web.Request
    ) -> tuple[dict[int, bytes], dict[int, BridgeError]]:
        groups: dict[int, tuple[Plan, list[int]]] = {}
        for place, plan in enumerate(plans):
            if plan:
                groups.setdefault(id(plan), (plan, []))[1].append(place)
        sources: dict[int, bytes] = {}
        failed: dict[int, BridgeError] = {}

        async def embed(plan: Plan, places: list[int]) -> None:
            documents = [_document(items[place]) for place in places]
            for place, result in zip(places, await self._writes.embed(plan, documents, request), strict=True):
                if isinstance(result, BridgeError):
                    failed[place] = result
                else:
                    sources[place] = result

        await asyncio.gather(*(embed(plan, places) for plan, places in groups.values()))
        return sources, failed

    async def _with_failures(
        self,
        request: web.Request,
        body: bytes,
        items: Sequence[BulkItem],
        failed: Mapping[int, BridgeError],
        spent: int,
    ) -> web.StreamResponse:
        answer: dict[str, Any] = {"took": 0, "ingest_took": 0, "errors": True, "items": []}
        headers: Mapping[str, str] | None = None
        if body:
            sent = sent_headers(request.headers, replaced=True, content_type=_NDJSON)
            reply = await self._services.upstream.exchange(request.method, unshaped(request.raw_path), sent, body)
            if reply.status != 200:
                return reply_answer(reply)
            answer, headers = reply.json(), reply.headers
        if "took" in answer:
            answer["ingest_took"] = int(answer.get("ingest_took", 0)) + spent
        if "errors" in answer:
            answer["errors"] = True
        results = answer.get("items")
        if isinstance(results, list):
            for place in sorted(failed):
                results.insert(place, error_result(items[place], failed[place]))
        return json_answer(200, shaped(answer, request.raw_path), headers)


def _document(item: BulkItem) -> RawDocument:
    return RawDocument(item.source or b"", index=item.index, id=item.id, routing=item.routing)
