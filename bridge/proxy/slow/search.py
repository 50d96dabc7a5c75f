"""Searches: through a pipeline of ours, with `neural` queries rewritten, or on to the cluster as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import BridgeError, ClusterUnavailable, InvalidRequest, NotAcceptable, Unparsable
from bridge.pipelines.search_definitions import SearchPipeline
from bridge.proxy.slow.documents import CLEAR_HEADER, CLEAR_SECONDS
from bridge.proxy.slow.presentation import decoded, presented, presented_apart
from bridge.proxy.slow.search_defaults import is_wild
from bridge.proxy.slow.search_parameters import Parameters
from bridge.proxy.slow.searching import Prepared, Search, Searching, finished
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.wire import dumps_exact, loads_exact

_JSON = "application/json"


class Searches:
    """Handlers for all requests whose body is one query."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._searching = Searching(services)

    async def search(self, request: web.Request) -> web.StreamResponse:
        """`_search`."""
        raw, inline = await self._body(request)
        parsed = parsed_source(raw)
        if parsed is None:
            return await self._unreadable(request, raw)
        search = search_of(request, parsed)
        prepared = await self._searching.prepared(search)
        if prepared is None:
            return await self._pass_on(request, raw if not inline else None, extra=_clear(search))
        if prepared.run is None:
            target, body = search.parameters.bodiless(), dumps_exact(prepared.body)
            return await self._services.upstream.pass_on(request, target=target, body=body, content_type=_JSON)
        return await self.answered(request, search, prepared)

    async def answered(
        self, request: web.Request, search: Search, prepared: Prepared, *, path: str | None = None, status: bool = False
    ) -> web.StreamResponse:
        """Send a prepared search and take its answer through the rest of its pipeline. `path` stands instead of the
        request's own; `status`: the answer says its status, as those of templates do."""
        target = search.parameters.upstream(folded=prepared.folded, shaped=True)
        if path is not None:
            target = path + "?" + target.partition("?")[2]
        reply = await self._exchange(request, target, prepared.body)
        if reply.status != 200:
            return reply_answer(reply)
        answer = without_total(await decoded(reply), search.parameters)
        answer = with_total(await finished(prepared, answer), search.parameters)
        if status:
            answer["status"] = 200
        return await presented_apart(answer, request, reply)

    async def count(self, request: web.Request) -> web.StreamResponse:
        """`_count`: the request processors of the index's pipeline run, and the search counts."""
        raw, inline = await self._body(request)
        parsed = parsed_source(raw)
        if parsed is None:
            return await self._unreadable(request, raw)
        search = search_of(request, parsed)
        # Any other key than `query` is refused by the cluster.
        pipeline = None
        if search.leaves_it_to_the_index:
            pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is None or set(parsed) - {"query"}:
            return await self._rewritten(request, raw, search, inline, extra=None if pipeline else _clear(search))
        return await self._counted(request, search, pipeline)

    async def _counted(self, request: web.Request, search: Search, pipeline: SearchPipeline) -> web.StreamResponse:
        source = {**search.body, "size": 0, "track_total_hits": True}
        if "min_score" in search.parameters.values:
            # A number in a text is a number to the cluster, and anything else is its to refuse.
            source["min_score"] = search.parameters.values["min_score"]
        counting = Search(
            body=source, parameters=search.parameters, headers=search.headers, target=search.target,
            resolving=search.resolving, caller=search.caller,
        )  # fmt: skip
        prepared = await self._searching.through(pipeline, counting)
        chain = prepared.body["search_pipeline"]
        if isinstance(chain, Mapping):
            kept = {key: value for key, value in chain.items() if key == "request_processors"}
            prepared.body["search_pipeline"] = kept or "_none"
        target = search.parameters.upstream(folded=prepared.folded, shaped=True, without=("min_score",))
        target = target.replace("/_count", "/_search", 1)
        reply = await self._exchange(request, target, prepared.body)
        if reply.status != 200:
            return reply_answer(reply)
        found = reply.json()
        answer = {"count": found["hits"]["total"]["value"]}
        if "terminated_early" in found:
            answer["terminated_early"] = found["terminated_early"]
        return presented({**answer, "_shards": found["_shards"]}, request, reply.headers)

    async def rewrite(self, request: web.Request) -> web.StreamResponse:
        """`_explain` and whatever else takes a query and no pipeline."""
        raw, inline = await self._body(request)
        parsed = parsed_source(raw)
        if parsed is None:
            return await self._pass_on(request, raw)
        return await self._rewritten(request, raw, search_of(request, parsed), inline)

    async def asynchronous(self, request: web.Request) -> web.StreamResponse:
        """`_plugins/_asynchronous_search`: the cluster searches by itself, past the bridge."""
        raw, inline = await self._body(request)
        parsed = parsed_source(raw)
        if parsed is None:
            return await self._pass_on(request, raw)
        search = search_of(request, parsed, target=request.query.get("index"))
        pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is not None:
            raise InvalidRequest(
                f"search pipeline [{pipeline.name}] holds processors that run in this bridge; an asynchronous search "
                "runs in the cluster, which could not run them: search through the bridge instead"
            )
        return await self._rewritten(request, raw, search, inline)

    async def validate(self, request: web.Request) -> web.StreamResponse:
        """`_validate/query`: an error in a clause is an answer, not a failure."""
        try:
            return await self.rewrite(request)
        except ClusterUnavailable:
            raise
        except BridgeError as error:
            shards = {"total": 0, "successful": 0, "failed": 0}
            why = [{"valid": False, "error": error.reason}]
            return json_answer(200, dumps_exact({"_shards": shards, "valid": False, "explanations": why}))

    async def _rewritten(
        self,
        request: web.Request,
        raw: bytes,
        search: Search,
        inline: bool,
        *,
        extra: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        changed = await self._searching.rewritten(search)
        if changed is search.body:
            return await self._pass_on(request, raw if not inline else None, extra=extra)
        return await self._services.upstream.pass_on(
            request, target=search.parameters.bodiless(), body=dumps_exact(changed), content_type=_JSON
        )

    async def _body(self, request: web.Request) -> tuple[bytes, bool]:
        """The source, and whether it stood in the URL."""
        body = await read_body(request, self._services.max_body)
        if not body and "source" in request.query:
            return request.query["source"].encode(), True
        return body, False

    async def _pass_on(
        self, request: web.Request, body: bytes | None, *, extra: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        sent = body if request.body_exists else None
        return await self._services.upstream.pass_on(request, body=sent, extra=extra)

    async def _exchange(self, request: web.Request, target: str, body: Mapping[str, Any]) -> Reply:
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON)
        headers.popall("Accept", None)
        return await self._services.upstream.exchange("POST", target, headers, dumps_exact(body))

    async def _unreadable(self, request: web.Request, raw: bytes) -> web.StreamResponse:
        """A body that is no JSON object: malformed, which the cluster will say, or of another kind that only it reads.
        Where a pipeline of ours applies, it can't be searched as if there were none."""
        search = search_of(request, {})
        pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is None:
            return await self._pass_on(request, raw)
        if "json" not in request.headers.get("Content-Type", "json").lower():
            raise NotAcceptable(
                f"Content-Type header [{request.headers.get('Content-Type')}] is not supported by search pipeline "
                f"[{pipeline.name}], which runs in this bridge: send JSON"
            )
        headers = sent_headers(request.headers, replaced=True)
        reply = await self._services.upstream.exchange(request.method, request.raw_path, headers, raw)
        if reply.status == 200:
            raise Unparsable(f"search pipeline [{pipeline.name}] could not read the body of the search")
        return reply_answer(reply)


def parsed_source(raw: bytes) -> dict[str, Any] | None:
    """A search body; None for what is no JSON object."""
    if not raw.strip():
        return {}
    try:
        parsed = loads_exact(raw)
    except Unparsable:
        return None
    return parsed if isinstance(parsed, dict) else None


def search_of(request: web.Request, body: dict[str, Any], *, target: str | None = None) -> Search:
    parameters = Parameters.of(request.raw_path)
    return Search(
        body=body,
        parameters=parameters,
        headers=request.headers,
        target=target if target is not None else request.match_info.get("index"),
        resolving=parameters.resolving(),
        caller=request.get(CALLER),
    )


def _clear(search: Search) -> dict[str, str] | None:
    """The verdict that searches of this target concern nothing of ours, for the front door to remember. What a wildcard
    stands for depends on who asks, where callers have rights."""
    if not search.leaves_it_to_the_index or (search.caller is not None and is_wild(search.target)):
        return None
    return {CLEAR_HEADER: str(CLEAR_SECONDS)}


def without_total(answer: dict[str, Any], parameters: Parameters) -> dict[str, Any]:
    """The answer with its total as processors know it, where the request wants a plain number."""
    hits = answer.get("hits")
    if not parameters.plain_total or not isinstance(hits, dict) or not isinstance(hits.get("total"), int):
        return answer
    rest = {key: value for key, value in hits.items() if key != "total"}
    total = {} if hits["total"] < 0 else {"total": {"value": hits["total"], "relation": "eq"}}
    return {**answer, "hits": {**total, **rest}}


def with_total(answer: dict[str, Any], parameters: Parameters) -> dict[str, Any]:
    """The answer with its total as a plain number, where the request wants one."""
    hits = answer.get("hits")
    if not parameters.plain_total or not isinstance(hits, Mapping):
        return answer
    rest = {key: value for key, value in hits.items() if key != "total"}
    total = hits.get("total", {"value": -1})
    return {**answer, "hits": {"total": total["value"] if isinstance(total, Mapping) else total, **rest}}
