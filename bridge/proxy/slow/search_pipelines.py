"""`/_search/pipeline`: definitions with processors of ours are kept by the bridge, their native rest by the cluster.

The cluster judges all of its own processors, with the caller's own rights, before anything is kept: also those that
will run in the bridge or that only the bridge will send. Then the bridge knows the whole, and only then the rest stands
in the cluster: no search of this bridge finds the rest where it should have found the whole.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.background import Background
from bridge.errors import InvalidRequest, Unparsable, reason_in
from bridge.pipelines.cache import SEARCH_KIND
from bridge.pipelines.search_definitions import UNSERVED, SearchPipeline, read_search
from bridge.proxy.slow.presentation import shaped
from bridge.proxy.slow.search_parameters import Parameters
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.proxy.slow.whole import answered, exchanged, matching
from bridge.wire import dumps_exact, loads

_JSON = "application/json"
_INVALID = re.compile(r"Invalid processor type ([\w-]+)$")
_JUDGED = "bridge_judged"
"""A key that no pipeline has: the cluster refuses it when it has found no other fault, and so stores nothing."""


class SearchPipelines:
    """Handlers of the definitions."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._tasks = Background()
        self._lock = asyncio.Lock()

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Check, store the whole in the bridge's index, then the rest in the cluster."""
        body = await read_body(request, self._services.max_body)
        name = request.match_info["name"]
        pipeline = self._read(name, body)
        # Both documents or none: a client that goes away between the two must not stop the second.
        work = self._stored(request, name, pipeline, body)
        reply = await asyncio.shield(self._tasks.start(work, name=f"put search pipeline {name}"))
        refuse_unserved(reply)
        return reply_answer(reply)

    async def _stored(self, request: web.Request, name: str, pipeline: SearchPipeline | None, body: bytes) -> Reply:
        """The cluster's answer; the pipeline is stored where it is 200. Raises ClusterUnavailable, ClusterError."""
        known = self._services.pipelines
        # What is put back after a refusal must not be older than what another request has put meanwhile.
        async with self._lock:
            if pipeline is None:
                headers = sent_headers(request.headers, replaced=True)
                reply = await self._services.upstream.exchange("PUT", request.raw_path, headers, body)
                if reply.status == 200 and known.search(name) is not None:
                    await known.remove([name], SEARCH_KIND)
                return reply
            refusal = await self._refused(request, pipeline)
            if refusal is not None:
                return refusal
            return await self._kept(request, pipeline)

    async def _refused(self, request: web.Request, pipeline: SearchPipeline) -> Reply | None:
        """The cluster's refusal of its own processors in a pipeline, or of this caller; None where it would take them.
        Nothing is stored. Raises ClusterUnavailable."""
        natives = pipeline.natives()
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON)
        headers.popall("Accept", None)
        target = Parameters.of(request.raw_path).upstream(folded=False, shaped=True)
        asked = dumps_exact({**natives, _JUDGED: True})
        reply = await self._services.upstream.exchange("PUT", target, headers, asked)
        if reply.status == 200 or _reason(reply).endswith(f"[{_JUDGED}]"):
            return None
        # The same in the words and the shape that the client is to read.
        reply = await self._put(request, natives)
        return None if reply.status == 200 else reply

    async def _kept(self, request: web.Request, pipeline: SearchPipeline) -> Reply:
        known = self._services.pipelines
        before = known.search(pipeline.name)
        await known.put(pipeline)
        stored = False
        try:
            reply = await self._put(request, pipeline.residue())
            stored = reply.status == 200
        finally:
            if not stored:
                await (known.remove([pipeline.name], SEARCH_KIND) if before is None else known.put(before))
        return reply

    async def _put(self, request: web.Request, definition: Mapping[str, Any]) -> Reply:
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON)
        return await self._services.upstream.exchange("PUT", request.raw_path, headers, dumps_exact(dict(definition)))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The cluster's answer, with whole definitions where it holds the rest of one."""
        known = self._services.pipelines
        names = matching(known.search_names(), (request.match_info.get("name") or "*").split(","))
        found = {name: pipeline.definition for name in names if (pipeline := known.search(name)) is not None}
        return await answered(self._services.upstream, request, found)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Remove the rest from the cluster, then the whole here."""
        return await asyncio.shield(self._tasks.start(self._removed(request), name="delete search pipeline"))

    async def _removed(self, request: web.Request) -> web.StreamResponse:
        async with self._lock:
            ours = matching(self._services.pipelines.search_names(), [request.match_info["name"]])
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
    found = _INVALID.search(_reason(reply))
    if found is not None and found[1] in UNSERVED:
        raise InvalidRequest(
            f"processor [{found[1]}] is not served by this bridge yet, and the cluster has none of that name",
            processor_type=found[1],
        )


def _reason(reply: Reply) -> str:
    """Why the cluster found a request wrong; empty where it did not, or not in JSON."""
    if reply.status != 400:
        return ""
    try:
        return reason_in(reply.json()) or ""
    except Unparsable:
        return ""
