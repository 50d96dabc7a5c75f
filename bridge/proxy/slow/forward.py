"""Requests that turn out not to be ours, and those that change which pipeline applies where."""

from __future__ import annotations

from aiohttp import web

from bridge.proxy.slow.presentation import encoded
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import read_body, reply_answer, sent_headers


class Forward:
    """Streams requests to the cluster and answers back, untouched."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services

    async def anything(self, request: web.Request) -> web.StreamResponse:
        """Whatever no other handler took."""
        return await self._services.upstream.pass_on(request)

    async def administration(self, request: web.Request) -> web.StreamResponse:
        """Settings, templates, aliases, creation and deletion: what was remembered of them is forgotten, before the
        client reads that anything has changed. The cluster's answer, a few lines of acknowledgement, is held till then.

        Raises ClusterUnavailable, TooLarge."""
        body = await read_body(request, self._services.max_body) if request.body_exists else None
        headers = sent_headers(request.headers, replaced=True)
        try:
            reply = await self._services.upstream.exchange(request.method, request.raw_path, headers, body)
        finally:
            # Also where no answer came: the cluster may have done it all the same.
            self._services.resolver.clear()
            self._services.pipelines.republish()
        return await encoded(reply_answer(reply), request)
