"""`/_search/pipeline`: definitions with processors of ours are kept by the bridge, their native rest by the cluster.

The cluster judges all of its own processors, with the caller's own rights, before anything is kept: also those that
will run in the bridge or that only the bridge will send.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.background import Background
from bridge.errors import InvalidRequest, Unparsable
from bridge.pipelines.cache import SEARCH_KIND
from bridge.pipelines.search_definitions import UNSERVED, SearchPipeline, read_search
from bridge.proxy.slow.presentation import shaped
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.proxy.slow.whole import answered, exchanged, matching
from bridge.wire import dumps_exact, loads

_JSON = "application/json"
_INVALID = re.compile(r"Invalid processor type ([\w-]+)$")


class SearchPipelines:
    """Handlers of the definitions."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._tasks = Background()

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Check, store the rest in the cluster, then the whole in the bridge's index."""
        body = await read_body(request, self._services.max_body)
        name = request.match_info["name"]
        pipeline = self._read(name, body)
        # Both documents or none: a client that goes away between the two must not stop the second.
        work = self._stored(request, name, pipeline, body)
        reply = await asyncio.shield(self._tasks.start(work, name=f"put search pipeline {name}"))
        refuse_unserved(reply)
        return reply_answer(reply)

    async def _stored(self, request: web.Request, name: str, pipeline: SearchPipeline | None, body: bytes) -> Reply:
        upstream, known = self._services.upstream, self._services.pipelines
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON if pipeline else None)
        if pipeline is None:
            reply = await upstream.exchange("PUT", request.raw_path, headers, body)
            if reply.status == 200 and known.search(name) is not None:
                await known.remove([name], SEARCH_KIND)
            return reply
        natives, residue = pipeline.natives(), pipeline.residue()
        for definition in [natives] if natives == residue else [natives, residue]:
            reply = await upstream.exchange("PUT", request.raw_path, headers, dumps_exact(definition))
            if reply.status != 200:
                return reply
        await known.put(pipeline)
        return reply

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The cluster's answer, with whole definitions where it holds the rest of one."""
        known = self._services.pipelines
        names = matching(known.search_names(), (request.match_info.get("name") or "*").split(","))
        found = {name: pipeline.definition for name in names if (pipeline := known.search(name)) is not None}
        return await answered(self._services.upstream, request, found)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Remove the rest from the cluster, then the whole here."""
        work = self._removed(request, matching(self._services.pipelines.search_names(), [request.match_info["name"]]))
        return await asyncio.shield(self._tasks.start(work, name="delete search pipeline"))

    async def _removed(self, request: web.Request, ours: list[str]) -> web.StreamResponse:
        reply = await exchanged(self._services.upstream, request)
        if not ours or reply.status not in (200, 404):
            return reply_answer(reply)
        await self._services.pipelines.remove(ours, SEARCH_KIND)
        return json_answer(200, shaped({"acknowledged": True}, request.raw_path))

    def _read(self, name: str, body: bytes) -> SearchPipeline | None:
        """The pipeline; None when it is the cluster's alone. Raises InvalidRequest."""
        try:
            definition = loads(body)
        except Unparsable:
            return None
        return read_search(name, definition, self._services.pipelines.search_services)


def refuse_unserved(reply: Reply) -> None:
    """Raises InvalidRequest where the cluster does not know a processor that ML Commons or neural-search would bring:
    the client reads that it is the bridge that lacks it."""
    if reply.status != 400:
        return
    answer = reply.json()
    error: Any = answer.get("error") if isinstance(answer, Mapping) else None
    found = _INVALID.search(str(error.get("reason"))) if isinstance(error, Mapping) else None
    if found is not None and found[1] in UNSERVED:
        raise InvalidRequest(
            f"processor [{found[1]}] is not served by this bridge yet, and the cluster has none of that name",
            processor_type=found[1],
        )
