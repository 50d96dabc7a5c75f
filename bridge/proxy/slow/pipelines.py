"""`/_ingest/pipeline`: definitions with processors of ours are kept by the bridge, their native rest by the cluster.

The rest stands in the cluster under the same name, written with the caller's own rights: the cluster judges whether he
may, index settings that name the pipeline stay valid, and a write then runs the rest exactly once.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from bridge.background import Background
from bridge.errors import InvalidRequest, Unparsable
from bridge.pipelines.definitions import IngestPipeline, called_pipelines, read_ingest
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.proxy.slow.whole import answered, exchanged, matching
from bridge.wire import dumps_exact, loads

_JSON = "application/json"


class Pipelines:
    """Handlers of the pipeline definitions."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._tasks = Background()

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Check, store the rest in the cluster, then the whole in the bridge's index."""
        body = await read_body(request, self._services.max_body)
        name = request.match_info["name"]
        pipeline = self._read(name, body)
        sent = body if pipeline is None else dumps_exact(dict(pipeline.residue))
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON if pipeline else None)

        async def store() -> Reply:
            reply = await self._services.upstream.exchange("PUT", request.raw_path, headers, sent)
            if reply.status == 200:
                await self._remember(name, pipeline)
            return reply

        # Both documents or none: a client that goes away between the two must not stop the second.
        return reply_answer(await asyncio.shield(self._tasks.start(store(), name=f"put pipeline {name}")))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The cluster's answer, with whole definitions where it holds the rest of one."""
        known = self._services.pipelines
        names = matching(known.names(), (request.match_info.get("name") or "*").split(","))
        found = {name: pipeline.definition for name in names if (pipeline := known.get(name)) is not None}
        return await answered(self._services.upstream, request, found)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Remove the rest from the cluster, then the whole here."""
        reply = await exchanged(self._services.upstream, request)
        ours = matching(self._services.pipelines.names(), [request.match_info["name"]])
        if ours and reply.status in (200, 404):
            await self._services.pipelines.remove(ours)
            return json_answer(200, b'{"acknowledged":true}')
        return reply_answer(reply)

    def _read(self, name: str, body: bytes) -> IngestPipeline | None:
        """The pipeline; None when it is the cluster's alone. Raises InvalidRequest."""
        try:
            definition = loads(body)
        except Unparsable:
            return None
        pipeline = read_ingest(name, definition, self._services.pipelines.services)
        called = [one for one in called_pipelines(definition) if self._services.pipelines.get(one) is not None]
        if called:
            raise InvalidRequest(
                f"processor [pipeline] calls [{called[0]}], which holds processors that run in this bridge: "
                "the cluster could not run them there"
            )
        return pipeline

    async def _remember(self, name: str, pipeline: IngestPipeline | None) -> None:
        if pipeline is not None:
            await self._services.pipelines.put(pipeline)
        elif self._services.pipelines.get(name) is not None:
            await self._services.pipelines.remove([name])
