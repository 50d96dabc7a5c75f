"""`_doc`, `_create` and `_update`: one document through the pipelines that apply to it."""

from __future__ import annotations

from aiohttp import web

from bridge.errors import BridgeError, InvalidRequest
from bridge.proxy.slow.resolve import Applied
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.update import Update
from bridge.proxy.slow.upstream import read_body
from bridge.proxy.slow.writes import RawDocument, Writes

_JSON = "application/json"
CLEAR_HEADER = "x-bridge-clear"
"""Seconds for which the front door may send writes to this index straight to the cluster."""
CLEAR_SECONDS = 5


class Documents:
    """Handlers for single writes."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._writes = Writes(services)
        self._update = Update(services)

    async def write(self, request: web.Request) -> web.StreamResponse:
        """`PUT|POST /{index}/_doc/{id}`, `POST /{index}/_doc`, `PUT|POST /{index}/_create/{id}`."""
        upstream = self._services.upstream
        index = request.match_info["index"]
        named = request.query.get("pipeline")
        if not self._services.pipelines:
            return await upstream.pass_on(request)
        applied = await self._writes.applied(index, request.headers)
        plan = self._writes.plan(named, applied)
        if not plan:
            return await upstream.pass_on(request, extra=self._clear(applied))
        body = await read_body(request, self._services.max_body)
        if not body:
            raise InvalidRequest("request body is required", kind="parse_exception")
        document = RawDocument(body, index=index, id=request.match_info.get("id"), routing=request.query.get("routing"))
        [result] = await self._writes.embed(plan, [document], request)
        if isinstance(result, BridgeError):
            raise result
        return await upstream.pass_on(request, body=result, content_type=_JSON)

    async def update(self, request: web.Request) -> web.StreamResponse:
        """`POST /{index}/_update/{id}`; a named pipeline is not allowed there, which the cluster will say."""
        if not self._services.pipelines:
            return await self._services.upstream.pass_on(request)
        applied = await self._writes.applied(request.match_info["index"], request.headers)
        plan = self._writes.plan(None, applied)
        if not plan or "pipeline" in request.query:
            return await self._services.upstream.pass_on(request, extra=self._clear(applied))
        return await self._update.embedded(request, plan, await read_body(request, self._services.max_body))

    def _clear(self, applied: Applied) -> dict[str, str]:
        """The whole index is clear when neither of its own pipelines is ours, whatever one request named."""
        known = self._services.pipelines
        if any(name is not None and known.get(name) is not None for name in (applied.default, applied.final)):
            return {}
        return {CLEAR_HEADER: str(CLEAR_SECONDS)}
