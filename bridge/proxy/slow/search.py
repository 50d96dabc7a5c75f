"""Searches: through a pipeline of ours, with `neural` queries rewritten, or on to the cluster as they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import BridgeError, ClusterUnavailable, InvalidRequest, NotAcceptable, Unparsable
from bridge.pipelines.search_definitions import SearchPipeline
from bridge.proxy.slow.documents import CLEAR_HEADER, CLEAR_SECONDS
from bridge.proxy.slow.presentation import decoded, encoded, presented
from bridge.proxy.slow.search_defaults import is_wild
from bridge.proxy.slow.search_parameters import Parameters, truth
from bridge.proxy.slow.searching import Prepared, Search, Searching, finished
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.wire import dumps_exact, loads_exact

_JSON = "application/json"
_READ_AS_JSON = ("application/json", "application/x-ndjson", "application/*", "application/vnd.opensearch+json")
_READ_OTHERWISE = tuple(
    f"application/{kind}" for name in ("yaml", "cbor", "smile") for kind in (name, f"vnd.opensearch+{name}")
)


@dataclass(frozen=True)
class Source:
    """The body of a search. `inline`: it stood in the URL. `legible`: the request says so of it what the cluster wants
    to hear; where it does not, the cluster refuses it. `sent` is what goes on as body of a request that stays as it is.
    """

    raw: bytes
    inline: bool = False
    legible: bool = True
    sent: bytes | None = None
    media_type: str | None = None

    @property
    def in_json(self) -> bool:
        """Whether it is said to be JSON, or lines of it."""
        return self.legible and _essence(self.media_type) in _READ_AS_JSON

    def parsed(self, *, blank: bool = False) -> dict[str, Any] | None:
        """The search; None for what is none, or what only the cluster can judge. `blank`: a body of spaces counts as
        none."""
        if not self.legible:
            return None
        nothing = not self.raw.strip() if blank else not self.raw and not self.inline
        return {} if nothing else parsed_source(self.raw)


class Searches:
    """Handlers for all requests whose body is one query."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._searching = Searching(services)

    async def search(self, request: web.Request) -> web.StreamResponse:
        """`_search`."""
        source = await source_of(request, self._services.max_body)
        parsed = source.parsed()
        if parsed is None:
            return await self.unreadable(request, source)
        search = search_of(request, parsed)
        search.parameters.check()
        prepared = await self._searching.prepared(search)
        if prepared is None:
            return await self._services.upstream.pass_on(request, body=source.sent, extra=_clear(search))
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
            return await encoded(reply_answer(reply), request)
        answer = without_total(await decoded(reply), search.parameters)
        answer = with_total(await finished(prepared, answer), search.parameters)
        if status:
            answer["status"] = 200
        return await presented(answer, request, reply.headers, length=len(reply.body))

    async def count(self, request: web.Request) -> web.StreamResponse:
        """`_count`: the request processors of the index's pipeline run, and the search counts."""
        source = await source_of(request, self._services.max_body)
        parsed = source.parsed(blank=True)
        if parsed is None:
            return await self.unreadable(request, source)
        search = search_of(request, parsed)
        # Any other key than `query` is refused by the cluster.
        pipeline = None
        if search.leaves_it_to_the_index:
            pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is None or set(parsed) - {"query"}:
            return await self._rewritten(request, source, search, extra=None if pipeline else _clear(search))
        search.parameters.check()
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
            return await encoded(reply_answer(reply), request)
        found = reply.json()
        answer = {"count": found["hits"]["total"]["value"]}
        if "terminated_early" in found:
            answer["terminated_early"] = found["terminated_early"]
        return await presented({**answer, "_shards": found["_shards"]}, request, reply.headers)

    async def rewrite(self, request: web.Request) -> web.StreamResponse:
        """`_explain` and whatever else takes a query and no pipeline."""
        source = await source_of(request, self._services.max_body)
        parsed = source.parsed(blank=True)
        if parsed is None:
            return await self._services.upstream.pass_on(request, body=source.sent)
        return await self._rewritten(request, source, search_of(request, parsed))

    async def asynchronous(self, request: web.Request) -> web.StreamResponse:
        """`_plugins/_asynchronous_search`: the cluster searches by itself, past the bridge."""
        source = await source_of(request, self._services.max_body)
        parsed = source.parsed()
        if parsed is None:
            return await self._services.upstream.pass_on(request, body=source.sent)
        search = search_of(request, parsed, target=request.query.get("index"))
        pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is not None:
            raise InvalidRequest(
                f"search pipeline [{pipeline.name}] holds processors that run in this bridge; an asynchronous search "
                "runs in the cluster, which could not run them: search through the bridge instead"
            )
        return await self._rewritten(request, source, search)

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
        source: Source,
        search: Search,
        *,
        extra: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        changed = await self._searching.rewritten(search)
        if changed is search.body:
            return await self._services.upstream.pass_on(request, body=source.sent, extra=extra)
        return await self._services.upstream.pass_on(
            request, target=search.parameters.bodiless(), body=dumps_exact(changed), content_type=_JSON
        )

    async def _exchange(self, request: web.Request, target: str, body: Mapping[str, Any]) -> Reply:
        headers = sent_headers(request.headers, replaced=True, content_type=_JSON)
        headers.popall("Accept", None)
        return await self._services.upstream.exchange("POST", target, headers, dumps_exact(body))

    async def unreadable(self, request: web.Request, source: Source) -> web.StreamResponse:
        """A body that is no JSON object: malformed, which the cluster will say, or of another kind that only it reads.
        Where a pipeline of ours applies, it can't be searched as if there were none."""
        search = search_of(request, {})
        pipeline = await self._searching.selection.of(search.asked(), search.headers)
        if pipeline is None:
            return await self._services.upstream.pass_on(request, body=source.sent)
        headers = sent_headers(request.headers, replaced=True)
        reply = await self._services.upstream.exchange(request.method, request.raw_path, headers, source.sent)
        if reply.status != 200:
            return await encoded(reply_answer(reply), request)
        if _essence(source.media_type) in _READ_OTHERWISE:
            raise NotAcceptable(
                f"Content-Type header [{source.media_type}] is not supported by search pipeline "
                f"[{pipeline.name}], which runs in this bridge: send JSON"
            )
        raise Unparsable(f"search pipeline [{pipeline.name}] could not read the body of the search")


async def source_of(request: web.Request, limit: int) -> Source:
    """The body, or the parameter `source` that stands for one. Raises TooLarge."""
    body = await read_body(request, limit)
    parameters = Parameters.of(request.raw_path)
    sent = body if request.body_exists else None
    if not body and "source" in parameters.values:
        raw, said = parameters.values["source"].encode(), parameters.values.get("source_content_type")
        return Source(raw, True, parameters.legible and _has_a_reader(said), sent, said)
    said = request.headers.get("Content-Type") if body else _JSON
    legible = parameters.legible and not parameters.names_a_body and _has_a_reader(said)
    return Source(body, False, legible, sent, said)


def _has_a_reader(media_type: str | None) -> bool:
    """Whether the cluster reads bodies that are said to be of this type (live: all others are 406, 400 or 500)."""
    return _essence(media_type) in (*_READ_AS_JSON, *_READ_OTHERWISE)


def _essence(media_type: str | None) -> str:
    return (media_type or "").partition(";")[0].strip().lower()


def parsed_source(raw: bytes) -> dict[str, Any] | None:
    """A search body, its flag `verbose_pipeline` read; None for what the cluster does not take for a search."""
    try:
        parsed = loads_exact(raw)
    except Unparsable:
        return None
    if not isinstance(parsed, dict):
        return None
    if "verbose_pipeline" in parsed:
        verbose = truth(parsed["verbose_pipeline"])
        if verbose is None:
            return None
        parsed["verbose_pipeline"] = verbose
    return parsed


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
