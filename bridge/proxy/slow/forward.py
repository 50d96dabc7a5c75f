"""Requests that turn out not to be ours, and those that change which pipeline applies where."""

from __future__ import annotations

from aiohttp import web

from bridge.proxy.slow.services import SlowServices


class Forward:
    """Streams requests to the cluster and answers back, untouched."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services

    async def anything(self, request: web.Request) -> web.StreamResponse:
        """Whatever no other handler took."""
        return await self._services.upstream.pass_on(request)

    async def administration(self, request: web.Request) -> web.StreamResponse:
        """Settings, templates, aliases, creation and deletion: what was remembered of them is forgotten."""
        try:
            return await self._services.upstream.pass_on(request)
        finally:
            self._services.resolver.clear()
            self._services.pipelines.republish()
