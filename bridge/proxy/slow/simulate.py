"""`_simulate` of ingest pipelines with processors of ours: our part here, the rest in the cluster's own `_simulate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bridge.errors import BridgeError, InvalidRequest, Unparsable, error_body
from bridge.pipelines.definitions import IngestPipeline, read_ingest
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import json_answer, read_body, reply_answer, sent_headers
from bridge.proxy.slow.writes import Plan, RawDocument, Writes
from bridge.wire import dumps_exact, loads_exact, raw_json

_JSON = "application/json"
_TARGET = "/_ingest/pipeline/_simulate"


class Simulate:
    """Handlers of `/_ingest/pipeline/_simulate` and `/_ingest/pipeline/{name}/_simulate`."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._writes = Writes(services)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A body that holds nothing of ours goes on as it came."""
        raw = await read_body(request, self._services.max_body)
        body = _parsed(raw)
        pipeline = self._pipeline(request.match_info.get("name"), body)
        docs = body.get("docs")
        if pipeline is None or not isinstance(docs, list) or not all(_is_document(doc) for doc in docs) or not docs:
            return await self._services.upstream.pass_on(request, body=raw if request.body_exists else None)
        if request.query.get("verbose", "false") in ("", "true"):
            raise InvalidRequest("[verbose] for a pipeline with processors of this bridge is not served yet")
        results = await self._embedded(pipeline, docs, request)
        return await self._simulated(request, pipeline, docs, results)

    def _pipeline(self, name: str | None, body: Mapping[str, Any]) -> IngestPipeline | None:
        if name is not None:
            return self._services.pipelines.get(name)
        return read_ingest("_simulate_pipeline", body.get("pipeline"), self._services.pipelines.services)

    async def _embedded(
        self, pipeline: IngestPipeline, docs: Sequence[Mapping[str, Any]], request: web.Request
    ) -> list[bytes | BridgeError]:
        documents = [
            RawDocument(
                dumps_exact(doc["_source"]), index=doc.get("_index"), id=doc.get("_id"), routing=doc.get("_routing")
            )
            for doc in docs
        ]
        return await self._writes.embed(Plan((pipeline,)), documents, request)

    async def _simulated(
        self,
        request: web.Request,
        pipeline: IngestPipeline,
        docs: Sequence[Mapping[str, Any]],
        results: Sequence[bytes | BridgeError],
    ) -> web.StreamResponse:
        sent = [
            {**doc, "_source": raw_json(result)}
            for doc, result in zip(docs, results, strict=True)
            if not isinstance(result, BridgeError)
        ]
        answers: list[Any] = []
        headers: Mapping[str, str] | None = None
        if sent:
            body = dumps_exact({"pipeline": dict(pipeline.residue), "docs": sent})
            caller = sent_headers(request.headers, replaced=True, content_type=_JSON)
            reply = await self._services.upstream.exchange("POST", _TARGET, caller, body)
            if reply.status != 200:
                return reply_answer(reply)
            answers, headers = reply.json()["docs"], reply.headers
        for place, result in enumerate(results):
            if isinstance(result, BridgeError):
                answers.insert(place, {"error": error_body(result).get("error")})
        return json_answer(200, dumps_exact({"docs": answers}), headers)


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        body = loads_exact(raw)
    except Unparsable:
        return {}
    return body if isinstance(body, Mapping) else {}


def _is_document(doc: Any) -> bool:
    return isinstance(doc, Mapping) and isinstance(doc.get("_source"), Mapping)
