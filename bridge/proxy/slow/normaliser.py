"""Asks the cluster for the normal form of a search body, with the caller's own rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.errors import ClusterError, ClusterUnavailable, Unparsable
from bridge.pipelines.normal import Normal, Question
from bridge.pipelines.split import Processor
from bridge.proxy.slow.search_parameters import Parameters
from bridge.proxy.slow.upstream import Reply, Upstream, sent_headers
from bridge.wire import dumps_exact

NOWHERE = "/bridge-no-such-index-*/_search"
"""A wildcard that matches nothing: the search is read and its request processors run, and no shard is touched."""
_JSON = "application/json"
_ANSWER = "filter_path=processor_results,error,status"


class ClusterNormaliser:
    """For one search."""

    def __init__(self, upstream: Upstream, headers: Mapping[str, str], parameters: Parameters) -> None:
        self._upstream = upstream
        self._headers = sent_headers(headers, replaced=True, content_type=_JSON)
        self._headers.popall("Accept", None)
        self._parameters = parameters

    @property
    def url_keys(self) -> Sequence[str]:
        """The keys of the source that the request's parameters give."""
        return self._parameters.source_keys

    async def normal(
        self, source: Mapping[str, Any], natives: Sequence[Processor], *, lenient: bool = False, from_url: bool = False
    ) -> Normal:
        """See bridge.pipelines.search_run.Normaliser. Raises ClusterError, ClusterUnavailable."""
        question = Question(source, natives)
        reply = await self._ask(question.body(), from_url)
        if reply.status != 200:
            # The same without what was put around the query, so that the client reads the cluster's own words.
            again = await self._ask(question.body(plain=True), from_url)
            raise _refused(again if again.status != 200 else reply)
        found = question.read(reply.json())
        if found is None:
            raise ClusterUnavailable("The cluster did not show the normal form of the search.")
        if not lenient and any(_failed(entry, native) for entry, native in zip(found.entries, natives, strict=False)):
            failed = await self._ask(question.body(plain=True), from_url)
            if failed.status != 200:
                raise _refused(failed)
        return found

    async def _ask(self, body: Mapping[str, Any], from_url: bool) -> Reply:
        source = self._parameters.source_query() if from_url else ""
        target = f"{NOWHERE}?{_ANSWER}&{source}" if source else f"{NOWHERE}?{_ANSWER}"
        return await self._upstream.exchange("POST", target, self._headers, dumps_exact(body))


def _failed(entry: Mapping[str, Any], native: Processor) -> bool:
    config = native[1]
    ignored = isinstance(config, Mapping) and config.get("ignore_failure") is True
    return entry.get("status") == "fail" and not ignored


def _refused(reply: Reply) -> ClusterError | ClusterUnavailable:
    try:
        return ClusterError(reply.status, reply.json())
    except Unparsable:
        return ClusterUnavailable(f"The cluster answered {reply.status} without JSON.")
