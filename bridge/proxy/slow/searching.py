"""One search with something of ours in it: what is sent to the cluster, and what its answer becomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.domain.caller import Caller
from bridge.errors import ClusterError
from bridge.pipelines.neural import TooDeep, rewritten
from bridge.pipelines.normal import sendable_ext
from bridge.pipelines.search_definitions import AD_HOC, SearchPipeline
from bridge.pipelines.search_run import SearchRun
from bridge.pipelines.template_query import filled
from bridge.processors.search import Json
from bridge.proxy.slow.normaliser import NOWHERE, ClusterNormaliser
from bridge.proxy.slow.search_parameters import Parameters
from bridge.proxy.slow.selection import Asked, Selection
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import sent_headers
from bridge.wire import dumps_exact


@dataclass(frozen=True)
class Search:
    """A search as it came: `body` decoded, `target` the decoded list of indices."""

    body: Json
    parameters: Parameters
    headers: Mapping[str, str]
    target: str | None = None
    resolving: Mapping[str, str] | None = None
    caller: Caller | None = None

    def asked(self) -> Asked:
        """What it says of its pipeline."""
        caller = self.caller.name if self.caller is not None else ""
        return Asked(self.body, self.target, self.parameters.pipeline, self.resolving, caller)

    @property
    def leaves_it_to_the_index(self) -> bool:
        """Whether no pipeline is named: then what applies to it applies to all such searches of this target."""
        return self.parameters.pipeline is None and "search_pipeline" not in self.body and "pit" not in self.body


@dataclass
class Prepared:
    """What to send. `run` is None where only queries were rewritten; the answer is then the cluster's."""

    body: Json
    run: SearchRun | None = None

    @property
    def folded(self) -> bool:
        """Whether the body says what parameters of the URL said."""
        return self.run is not None and self.run.folded


class Searching:
    """Holds no state of a request."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self.selection = Selection(services.pipelines, services.resolver.searches)

    async def prepared(self, search: Search) -> Prepared | None:
        """None for a search that can go on as it came. Raises what it is to fail with."""
        pipeline = await self.selection.of(search.asked(), search.headers)
        if pipeline is not None:
            return await self.through(pipeline, search)
        body = await self.rewritten(search)
        return None if body is search.body else Prepared(body)

    async def rewritten(self, search: Search) -> Json:
        """The body with vectors, and without what only pipelines of ours read; the same object where nothing changed.
        Raises what a predictor raises."""
        seconds = search.parameters.seconds()
        try:
            changed = await rewritten(search.body, self._services.predictor, caller=search.caller, seconds=seconds)
        except TooDeep:
            # The cluster allows more levels, and knows best what to say of what it does not.
            return search.body
        return _without_our_ext(changed)

    async def through(self, pipeline: SearchPipeline, search: Search) -> Prepared:
        """The search as `pipeline` sends it. Raises what it is to fail with."""
        try:
            return await self._through(pipeline, search)
        except RecursionError as error:
            raise TooDeep("The query is nested too deeply.") from error

    async def _through(self, pipeline: SearchPipeline, search: Search) -> Prepared:
        started = time.monotonic()
        if pipeline.name == AD_HOC:
            await self._judged(pipeline, search)
        run = self._run(pipeline, search)
        await run.rewrite()
        attributes = run.context.attributes
        body = filled(run.body, attributes, more_to_come=bool(pipeline.split.request))
        left = None if run.deadline is None else max(run.deadline - asyncio.get_running_loop().time(), 0.001)
        body = await rewritten(body, self._services.predictor, caller=search.caller, seconds=left)
        sent = dict(_without_our_ext(body))
        sent.pop("verbose_pipeline", None)
        sent["search_pipeline"] = run.upstream_pipeline()
        if run.verbose is not None and isinstance(sent["search_pipeline"], Mapping):
            sent["verbose_pipeline"] = True
        run.spent = time.monotonic() - started if pipeline.rewriting else 0.0
        return Prepared(sent, run)

    async def _judged(self, pipeline: SearchPipeline, search: Search) -> None:
        """Let the cluster judge what stands around the processors of an inline definition, before any of them runs.
        Raises ClusterError with its answer, ClusterUnavailable, Unparsable."""
        frame = pipeline.frame()
        if frame is None:
            return
        headers = sent_headers(search.headers, replaced=True, content_type="application/json")
        headers.popall("Accept", None)
        body = dumps_exact({"search_pipeline": frame})
        reply = await self._services.upstream.exchange("POST", NOWHERE, headers, body)
        if reply.status != 200:
            raise ClusterError(reply.status, reply.json())

    def _run(self, pipeline: SearchPipeline, search: Search) -> SearchRun:
        seconds = search.parameters.seconds()
        verbose = search.parameters.verbose or search.body.get("verbose_pipeline") is True
        aside: Json = {}
        named = search.body.get("search_pipeline")
        if named is not None:
            aside["search_pipeline"] = {} if isinstance(named, Mapping) else named
        if verbose:
            aside["verbose_pipeline"] = True
        body = search.parameters.with_query(search.body)
        body.pop("search_pipeline", None)
        return SearchRun(
            pipeline=pipeline,
            body=body,
            normaliser=ClusterNormaliser(self._services.upstream, search.headers, search.parameters),
            caller=search.caller,
            deadline=None if seconds is None else asyncio.get_running_loop().time() + seconds,
            verbose=[] if verbose else None,
            aside=aside,
        )


async def finished(prepared: Prepared, answer: Json) -> Json:
    """The cluster's answer to a prepared search as the client gets it. Raises what the search is to fail with."""
    run = prepared.run
    if run is None:
        return answer
    answer = dict(answer)
    shown = answer.pop("processor_results", None)
    status = answer.pop("status", None)
    if run.verbose is not None and isinstance(shown, list):
        run.collect(shown)
    if run.pipeline.results:
        answer = dict(await run.process(answer))
    if "took" in answer:
        answer["took"] = int(answer["took"]) + int(run.spent * 1000)
    if run.verbose is not None:
        answer["processor_results"] = run.verbose
    if status is not None:
        answer["status"] = status
    return answer


def _without_our_ext(body: Json) -> Json:
    if "ext" not in body:
        return body
    ext = sendable_ext(body["ext"])
    if ext == body["ext"]:
        return body
    found = {key: value for key, value in body.items() if key != "ext"}
    return found if ext is None else {**found, "ext": ext}
