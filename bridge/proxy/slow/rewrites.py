"""`_reindex`, `_update_by_query`, `_delete_by_query`: the cluster writes by itself, past the bridge.

Its queries are rewritten. A pipeline of ours that such a request names could not run, and documents without vectors
where the caller asked for them would be the worst answer: refused. A default of the target index runs only its native
part there (contract/processors.md section 13, ingest table).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import InvalidRequest, Unparsable
from bridge.pipelines.neural import rewritten
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import read_body
from bridge.wire import dumps_exact, loads_exact

_JSON = "application/json"


class Rewrites:
    """Handlers for writes that the cluster makes from a search of its own."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services

    async def by_query(self, request: web.Request) -> web.StreamResponse:
        """`/{index}/_update_by_query` and `/{index}/_delete_by_query`."""
        self._refuse(request.query.get("pipeline"))
        return await self._rewritten(request, ())

    async def reindex(self, request: web.Request) -> web.StreamResponse:
        """`/_reindex`: the query stands under `source`."""
        return await self._rewritten(request, ("source",))

    async def _rewritten(self, request: web.Request, path: tuple[str, ...]) -> web.StreamResponse:
        raw = await read_body(request, self._services.max_body)
        body = _parsed(raw)
        destination = body.get("dest")
        if isinstance(destination, Mapping):
            self._refuse(destination.get("pipeline"))
        part = body.get(path[0]) if path else body
        changed = await rewritten(part, self._services.predictor, caller=request.get(CALLER))
        if changed is part:
            return await self._services.upstream.pass_on(request, body=raw if request.body_exists else None)
        whole = {**body, path[0]: changed} if path else changed
        return await self._services.upstream.pass_on(request, body=dumps_exact(whole), content_type=_JSON)

    def _refuse(self, name: Any) -> None:
        if isinstance(name, str) and self._services.pipelines.get(name) is not None:
            raise InvalidRequest(
                f"pipeline [{name}] holds processors that run in this bridge; the cluster writes these documents by "
                "itself and could not run them: read the documents and index them through the bridge instead"
            )


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        body = loads_exact(raw) if raw.strip() else {}
    except Unparsable:
        return {}
    return body if isinstance(body, Mapping) else {}
