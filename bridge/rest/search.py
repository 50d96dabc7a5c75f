"""Searches in the bridge's own indices, in the caller's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bridge.errors import ClusterError
from bridge.rest.answers import answer
from bridge.rest.body import read_body
from bridge.rest.services import services
from bridge.store.cluster import Answer
from bridge.wire import dumps_exact, loads_exact

_CHUNK = {"exists": {"field": "chunk_number"}}


async def search(
    request: web.Request, index: str, *, hide: Sequence[str] = (), without_chunks: bool = False
) -> web.Response:
    """Pass the caller's search on to `index`; the cluster's answer, and its errors, come back as they are.

    `hide` names fields that are not sent unless `_source` asks for them. Chunks of models are left out unless the body
    speaks of `chunk_number` (ML Commons returns them always; see docs/compatibility.md).
    """
    raw = await read_body(request)
    body: Any = loads_exact(raw) if raw else {}
    asked = _with_defaults(body, hide)
    wrapped = without_chunks and b"chunk_number" not in raw and isinstance(asked, dict)
    found = await _ask(request, index, _only_models(asked) if wrapped else asked)
    if wrapped and found.status == 400:
        # The caller's own query is refused with the reason and position that it has outside of our wrapping.
        found = await _ask(request, index, asked)
    if found.status >= 400:
        raise ClusterError(found.status, found.body)
    return answer(request, found.body)


def _with_defaults(body: Any, hide: Sequence[str]) -> Any:
    if not isinstance(body, dict) or not hide or "_source" in body:
        return body
    return {**body, "_source": {"excludes": list(hide)}}


def _only_models(body: dict[str, Any]) -> dict[str, Any]:
    query = body.get("query", {"match_all": {}})
    return {**body, "query": {"bool": {"must": [query], "must_not": [_CHUNK]}}}


async def _ask(request: web.Request, index: str, body: Any) -> Answer:
    params = {"version": "true", "seq_no_primary_term": "true", "ignore_unavailable": "true"}
    return await services(request).cluster.attempt(
        "POST", f"/{index}/_search", params=params, body=dumps_exact(body), idempotent=True
    )
