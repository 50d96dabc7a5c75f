"""`_update` with a partial document: the merged document is embedded, as the real server runs pipelines on it.

The bridge reads the stored document with the caller's rights, merges, embeds, and sends the update on under the version
it has read. Who wrote in between makes it start again; a vector never stands beside another version's text.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web
from yarl import URL

from bridge.errors import BridgeError, ClusterUnavailable, Unparsable
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, reply_answer, sent_headers
from bridge.proxy.slow.writes import Plan, RawDocument, Writes
from bridge.wire import dumps_exact, loads_exact, raw_json

_JSON = "application/json"
TRIES = 8
"""How often an update is made anew because somebody else wrote the document meanwhile."""


class Update:
    """Carries out one kind of request: an `_update` whose index has a pipeline of ours."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._writes = Writes(services)

    async def embedded(self, request: web.Request, plan: Plan, raw: bytes) -> web.StreamResponse:
        """The cluster's answer. Scripts can't be run here: they are sent on as they are, vectors untouched."""
        body = _parsed(raw)
        if body is None or "script" in body or not (isinstance(body.get("doc"), Mapping) or "upsert" in body):
            return await self._services.upstream.pass_on(request, body=raw)
        guarded = "if_seq_no" in request.query or "if_primary_term" in request.query
        left = TRIES + _retries(request)
        reply = await self._once(request, plan, body, guarded)
        while reply.status == 409 and left and not guarded:
            left -= 1
            # Writers that met once would meet again at the same pace.
            await asyncio.sleep(random.uniform(0.0, 0.05))
            reply = await self._once(request, plan, body, guarded)
        return reply_answer(reply)

    async def _once(self, request: web.Request, plan: Plan, body: Mapping[str, Any], guarded: bool) -> Reply:
        stored = await self._stored(request)
        target = URL(request.raw_path, encoded=True)
        changed: dict[str, Any] = dict(body)
        source = stored.get("_source")
        if isinstance(source, Mapping):
            if isinstance(body.get("doc"), Mapping):
                merged = merge(source, body["doc"])
                # Nothing new: the cluster finds that out by itself, unless it is told not to look.
                if merged != source or body.get("detect_noop") is False:
                    changed["doc"] = await self._embed(request, plan, merged)
            if not guarded:
                version = {"if_seq_no": str(stored["_seq_no"]), "if_primary_term": str(stored["_primary_term"])}
                target = target.without_query_params("retry_on_conflict").extend_query(version)
        else:
            key = "upsert" if "upsert" in body else "doc"
            if isinstance(body.get(key), Mapping) and (key == "upsert" or body.get("doc_as_upsert") is True):
                changed[key] = await self._embed(request, plan, body[key])
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON)
        return await self._services.upstream.exchange("POST", str(target), headers, dumps_exact(changed))

    async def _embed(self, request: web.Request, plan: Plan, fields: Mapping[str, Any]) -> Any:
        match = request.match_info
        document = RawDocument(
            dumps_exact(dict(fields)), index=match["index"], id=match["id"], routing=request.query.get("routing")
        )
        [result] = await self._writes.embed(plan, [document], request)
        if isinstance(result, BridgeError):
            raise result
        return raw_json(result)

    async def _stored(self, request: web.Request) -> Mapping[str, Any]:
        """The document with its version; empty when there is none, or when the caller may not read it."""
        match = request.match_info
        target = f"/{quote(match['index'], safe='')}/_doc/{quote(match['id'], safe='')}"
        if "routing" in request.query:
            target += f"?routing={quote(request.query['routing'], safe='')}"
        headers = sent_headers(request.headers, replaced=True)
        headers.popall("Content-Type", None)
        reply = await self._services.upstream.exchange("GET", target, headers)
        if reply.status >= 500 or reply.status == 429:
            raise ClusterUnavailable(f"The cluster answered {reply.status} to reading the stored document.")
        found = reply.json() if reply.status == 200 else {}
        return found if isinstance(found, Mapping) else {}


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` laid over `old` as the cluster does it: objects are merged, everything else is replaced."""
    found = dict(old)
    for name, value in new.items():
        below = found.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            found[name] = merge(below, value)
        else:
            found[name] = value
    return found


def _retries(request: web.Request) -> int:
    given = request.query.get("retry_on_conflict", "0")
    return min(int(given), 100) if given.isdecimal() else 0


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        body = loads_exact(raw)
    except Unparsable:
        return None
    return body if isinstance(body, dict) else None
