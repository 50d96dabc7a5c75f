"""Searches in the bridge's own indices, in the caller's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bridge.rest.answers import answer
from bridge.rest.body import read_body
from bridge.rest.services import services
from bridge.wire import dumps_exact, loads_exact

_NOT_CHUNKS = {"exists": {"field": "chunk_number"}}


async def search(
    request: web.Request, index: str, *, hide: Sequence[str] = (), without_chunks: bool = False
) -> web.Response:
    """Pass the caller's search on to `index`; the cluster's answer, and its errors, come back as they are.

    `hide` names fields that are not sent unless `_source` asks for them. Chunks of models are left out unless the body
    speaks of `chunk_number` (ML Commons returns them always; see docs/compatibility.md).
    """
    raw = await read_body(request)
    body: dict[str, Any] = loads_exact(raw) if raw else {}
    if isinstance(body, dict):
        if without_chunks and b"chunk_number" not in raw:
            query = body.get("query", {"match_all": {}})
            body["query"] = {"bool": {"must": [query], "must_not": [_NOT_CHUNKS]}}
        if hide and "_source" not in body:
            body["_source"] = {"excludes": list(hide)}
    params = {"version": "true", "seq_no_primary_term": "true", "ignore_unavailable": "true"}
    found = await services(request).cluster.request(
        "POST", f"/{index}/_search", params=params, body=dumps_exact(body), idempotent=True
    )
    return answer(request, found.body)
