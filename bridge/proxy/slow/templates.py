"""`_search/template` and `_msearch/template`: rendered by the cluster where something of ours may be in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from bridge.errors import BridgeError, ClusterError, Unparsable
from bridge.proxy.slow.multi_search import MultiSearch, Outcome, Pair, bounded
from bridge.proxy.slow.presentation import unshaped
from bridge.proxy.slow.search import Searches, Source, parsed_source, search_of, source_of
from bridge.proxy.slow.search_parameters import truth
from bridge.proxy.slow.searching import Searching
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import sent_headers
from bridge.wire import dumps_exact

_JSON = "application/json"
_RENDER = "/_render/template"
_FORBIDDEN = 403
_KEYS = frozenset(("id", "source", "params", "explain", "profile"))
_FLAGS = ("explain", "profile")


class Templates:
    """Handlers of searches by template."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._searches = Searches(services)
        self._searching = Searching(services)
        self._multi = MultiSearch(services)

    async def search(self, request: web.Request) -> web.StreamResponse:
        """`/_search/template` and `/{index}/_search/template`."""
        came = await source_of(request, self._services.max_body)
        if not self._multi.worth_a_look(came.raw):
            return await self._services.upstream.pass_on(request, body=came.sent)
        asked = came.parsed()
        if asked is None:
            return await self._searches.unreadable(request, came)
        if _refused(asked):
            return await self._services.upstream.pass_on(request, body=came.sent)
        source = await self._rendered(asked, request.headers)
        if isinstance(source, ClusterError):
            return await self._unrendered(request, came, source)
        search = search_of(request, source)
        search.parameters.check()
        prepared = await self._searching.prepared(search)
        if prepared is None:
            return await self._services.upstream.pass_on(request, body=came.sent)
        path = request.raw_path.partition("?")[0].removesuffix("/").removesuffix("/template")
        return await self._searches.answered(request, search, prepared, path=path, status=True)

    async def _unrendered(self, request: web.Request, came: Source, error: ClusterError) -> web.StreamResponse:
        """The cluster says itself what is wrong with a template. Who may search by it but not see it gets the plain
        search, unless a pipeline of ours would have to run."""
        if error.cluster_status == _FORBIDDEN:
            search = search_of(request, {})
            if await self._searching.selection.of(search.asked(), search.headers) is not None:
                raise error
        return await self._services.upstream.pass_on(request, body=came.sent)

    async def multi(self, request: web.Request) -> web.StreamResponse:
        """`/_msearch/template` and `/{index}/_msearch/template`."""
        came = await source_of(request, self._services.max_body)
        pairs = self._multi.pairs(request, came)
        if pairs is None or any(_refused(parsed_source(template) or {}) for _, template in pairs):
            return await self._services.upstream.pass_on(request, body=came.sent)
        items = await bounded(partial(self._item, request), pairs)
        if all(outcome is None for _, outcome in items):
            return await self._services.upstream.pass_on(request, body=came.sent)
        target = unshaped(request.raw_path).replace("/_msearch/template", "/_msearch", 1)
        rendered = [pair for pair, _ in items]
        return await self._multi.played(request, rendered, [outcome for _, outcome in items], target)

    async def _item(self, request: web.Request, pair: Pair) -> tuple[Pair, Outcome]:
        asked = parsed_source(pair[1])
        if asked is None:
            return pair, Unparsable("[template] malformed item of a multi search")
        try:
            source = await self._rendered(asked, request.headers)
        except BridgeError as error:
            return pair, error
        if isinstance(source, ClusterError):
            return pair, source
        rendered = pair[0], dumps_exact(source)
        return rendered, await self._multi.item(request, rendered)

    async def _rendered(self, asked: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any] | ClusterError:
        """The search that a template makes, or the cluster's refusal. Raises ClusterUnavailable."""
        sent = sent_headers(headers, replaced=True, content_type=_JSON)
        sent.popall("Accept", None)
        wanted = {key: asked[key] for key in ("id", "source", "params") if key in asked}
        reply = await self._services.upstream.exchange("POST", _RENDER, sent, dumps_exact(wanted))
        answer = reply.json()
        source = answer.get("template_output") if isinstance(answer, Mapping) else None
        if reply.status != 200 or not isinstance(source, dict):
            return ClusterError(reply.status, answer)
        return {**source, **{key: True for key in _FLAGS if truth(asked.get(key))}}


def _refused(asked: Mapping[str, Any]) -> bool:
    """Whether the cluster refuses what stands beside the template; it says so in its own words."""
    return bool(asked.keys() - _KEYS) or any(key in asked and truth(asked[key]) is None for key in _FLAGS)
