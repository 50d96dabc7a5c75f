"""Searches with `neural` queries: rewritten, then sent on; everything else as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from yarl import URL

from bridge.errors import BridgeError, ClusterUnavailable, Unparsable, error_body, status_of
from bridge.pipelines.neural import rewritten
from bridge.proxy.slow.presentation import shaped, unshaped
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import json_answer, read_body, reply_answer, sent_headers
from bridge.wire import dumps_exact, loads_exact

_WORD = b"neural"
_JSON = "application/json"
_NDJSON = "application/x-ndjson"


class Search:
    """Handlers for all requests whose body holds a query."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services

    async def search(self, request: web.Request) -> web.StreamResponse:
        """`_search`, `_count`, `_explain`, asynchronous searches."""
        body = await read_body(request, self._services.max_body)
        target = request.raw_path
        if not body and "source" in request.query:
            body = request.query["source"].encode()
            target = _without(request, "source", "source_content_type")
        changed = await self._rewritten(body)
        if changed is None:
            return await self._services.upstream.pass_on(request, body=body if request.body_exists else None)
        return await self._services.upstream.pass_on(request, target=target, body=changed, content_type=_JSON)

    async def validate(self, request: web.Request) -> web.StreamResponse:
        """`_validate/query`: an error in a clause is an answer, not a failure."""
        try:
            return await self.search(request)
        except ClusterUnavailable:
            raise
        except BridgeError as error:
            shards = {"total": 0, "successful": 0, "failed": 0}
            why = [{"valid": False, "error": error.reason}]
            return json_answer(200, dumps_exact({"_shards": shards, "valid": False, "explanations": why}))

    async def multi(self, request: web.Request) -> web.StreamResponse:
        """`_msearch`: an item that can't be rewritten fails alone."""
        body = await read_body(request, self._services.max_body)
        pairs = _pairs(body) if _worth_a_look(body) else None
        if pairs is None:
            return await self._services.upstream.pass_on(request, body=body)
        outcomes = await asyncio.gather(*(self._item(source) for _, source in pairs))
        if all(outcome is None for outcome in outcomes):
            return await self._services.upstream.pass_on(request, body=body)
        sent = []
        for (head, source), outcome in zip(pairs, outcomes, strict=True):
            if not isinstance(outcome, BridgeError):
                sent.append(head + b"\n" + (source if outcome is None else outcome) + b"\n")
        failed = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, BridgeError)}
        if not failed:
            return await self._services.upstream.pass_on(request, body=b"".join(sent), content_type=_NDJSON)
        return await self._with_failures(request, b"".join(sent), failed)

    async def _with_failures(
        self, request: web.Request, body: bytes, failed: Mapping[int, BridgeError]
    ) -> web.StreamResponse:
        answer: dict[str, Any] = {"took": 0, "responses": []}
        headers: Mapping[str, str] | None = None
        if body:
            reply = await self._services.upstream.exchange(
                request.method,
                unshaped(request.raw_path),
                sent_headers(request.headers, replaced=True, content_type=_NDJSON),
                body,
            )
            if reply.status != 200:
                return reply_answer(reply)
            answer, headers = reply.json(), reply.headers
        responses = answer.get("responses")
        if isinstance(responses, list):
            for place in sorted(failed):
                responses.insert(place, error_item(failed[place]))
        return json_answer(200, shaped(answer, request.raw_path), headers)

    async def _item(self, source: bytes) -> bytes | BridgeError | None:
        try:
            return await self._rewritten(source)
        except BridgeError as error:
            return error

    async def _rewritten(self, body: bytes) -> bytes | None:
        """The body to send, or None when it is to go on as it came: malformed JSON is the cluster's to answer."""
        if not _worth_a_look(body):
            return None
        try:
            parsed = loads_exact(body)
        except Unparsable:
            return None
        changed = await rewritten(parsed, self._services.predictor)
        return None if changed is parsed else dumps_exact(changed)


def _worth_a_look(body: bytes) -> bool:
    # An escape may spell the word in another way.
    return _WORD in body or b"\\u00" in body


def _pairs(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """Header and body lines; None for what the cluster is to judge."""
    lines = body.split(b"\n")
    if lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) % 2:
        return None
    return list(zip(lines[::2], lines[1::2], strict=True))


def error_item(error: BridgeError) -> dict[str, Any]:
    """How a failed item of a multi search looks."""
    body = error_body(error)
    if isinstance(body, dict) and "error" in body:
        return {"error": body["error"], "status": status_of(error)}
    return {"error": {"root_cause": [], "type": error.kind, "reason": error.reason}, "status": status_of(error)}


def _without(request: web.Request, *names: str) -> str:
    url = URL(request.raw_path, encoded=True)
    return str(url.without_query_params(*names))
