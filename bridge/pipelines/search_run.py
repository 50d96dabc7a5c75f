"""Takes a search through a pipeline: its body before the search, its answer after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.domain.caller import Caller
from bridge.errors import BridgeError
from bridge.pipelines.normal import ASIDE, Normal, composed
from bridge.pipelines.search_definitions import RequestStep, SearchPipeline, SearchStep
from bridge.pipelines.search_split import OVERSAMPLE, size_key, with_size
from bridge.pipelines.split import Processor, elements_of
from bridge.processors.inference_config import KIND as ML_INFERENCE
from bridge.processors.search import Json, RequestProcessor, SearchContext

_DEFAULT_SIZE = 10
_SWALLOWING = frozenset((ML_INFERENCE,))
"""Processors that handle `ignore_failure` themselves in the reference: to verbose mode such a failure is a success."""


class Normaliser(Protocol):
    """Asks the cluster."""

    async def normal(
        self, source: Mapping[str, Any], natives: Sequence[Processor], *, lenient: bool = False, from_url: bool = False
    ) -> Normal:
        """The normal forms of `source` before and after `natives`, processors of the cluster's own. `from_url`: with
        the parameters of the request that belong to the source. `lenient`: a native that fails is passed over.

        Raises ClusterError with the cluster's answer when it can't read the source or a processor fails.
        """
        ...

    @property
    def url_keys(self) -> Sequence[str]:
        """The keys of the source that the request's parameters give."""
        ...


@dataclass
class SearchRun:
    """One search on its way. `body` is the client's until `rewrite` has run; then no parameter of the request that
    belongs to the source may be sent any more (`folded`). `verbose` collects `processor_results`. `aside` is what the
    source says of the pipeline itself: processors see it, it is never sent."""

    pipeline: SearchPipeline
    body: Json
    normaliser: Normaliser
    caller: Caller | None = None
    deadline: float | None = None
    verbose: list[Mapping[str, Any]] | None = None
    aside: Mapping[str, Any] = field(default_factory=dict)
    folded: bool = False
    spent: float = 0.0
    context: SearchContext = field(init=False)
    _final: Json | None = field(default=None, init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.context = SearchContext(request=self._request, caller=self.caller, deadline=self.deadline)

    async def rewrite(self) -> None:
        """Run the request processors that come before the search. Raises what the search is to fail with."""
        started = time.monotonic()
        natives: list[RequestStep] = []
        normal: Json | None = None
        for step in self.pipeline.rewriting:
            processor = step.processor
            if processor is None:
                natives.append(step)
                continue
            if natives or normal is None:
                normal = await self._natives(natives)
                natives = []
            normal = await self._rewritten(step, processor, normal)
        if natives:
            await self._natives(natives)
        self.spent += time.monotonic() - started

    async def _natives(self, steps: Sequence[RequestStep]) -> Json:
        chain = [(step.kind, step.config) for step in steps]
        lenient = self.verbose is not None
        found = await self.normaliser.normal(self.body, chain, lenient=lenient, from_url=not self.folded)
        for step, entry in zip(steps, found.entries, strict=False):
            if step.kind == OVERSAMPLE and entry.get("status") != "fail":
                size = (entry.get("input_data") or {}).get("size", _DEFAULT_SIZE)
                self.context.attributes[size_key(dict(step.config))] = size
        for entry in found.entries:
            data = {key: entry.get(key) for key in ("input_data", "output_data")}
            shown = {key: self._with_aside(one) if isinstance(one, Mapping) else one for key, one in data.items()}
            self._show({**entry, **shown})
        from_url = () if self.folded else tuple(self.normaliser.url_keys)
        self.body = composed(self.body, found.before, found.after, from_url)
        self.folded = True
        return found.after

    async def _rewritten(self, step: RequestStep, processor: RequestProcessor, normal: Json) -> Json | None:
        """Take the body, whose normal form is `normal`, through one of ours; its normal form afterwards, None where it
        has to be asked for. Raises what the search is to fail with."""
        started = time.monotonic()
        try:
            source = await processor.rewrite({**normal, **self.aside}, self.context)
            changed = {key: value for key, value in source.items() if key not in ASIDE}
            body = self.body if changed == normal else composed(self.body, normal, changed)
            after = normal if body is self.body else await self._checked(step, body)
        except BridgeError as error:
            self._failed(step, started, normal, error)
            return normal
        before = self._with_aside(normal)
        self.body = body
        self.aside = {key: source[key] for key in ASIDE if key in source}
        self._note(step, started, before, self._with_aside(changed if after is None else after))
        return after

    async def _checked(self, step: RequestStep, body: Json) -> Json | None:
        """The normal form of a rewritten body, so that one which the cluster can't read is the processor's own failure;
        None where such a failure ends the search anyway. Raises ClusterError, ClusterUnavailable."""
        if not step.ignore_failure and self.verbose is None:
            return None
        return (await self.normaliser.normal(body, ())).after

    def upstream_pipeline(self) -> Any:
        """The inline pipeline to send with the search, or `_none`."""
        split = self.pipeline.split
        response = [with_size(processor, self.context.attributes) for processor in split.response]
        found: Json = {}
        if split.request:
            found["request_processors"] = elements_of(split.request)
        if self.pipeline.phase:
            found["phase_results_processors"] = self.pipeline.phase
        if response:
            found["response_processors"] = elements_of(response)
        return found or "_none"

    async def process(self, response: Json) -> Json:
        """Run what comes after the search on its answer. Raises what the search is to fail with."""
        for step in self.pipeline.results:
            started = time.monotonic()
            hits = _hits(response)
            self.context.ignore_failure = step.ignore_failure
            try:
                response = await step.processor.process(response, self.context)
            except BridgeError as error:
                self._failed(step, started, hits, error)
                continue
            self._note(step, started, hits, _hits(response))
        return response

    def collect(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add the `processor_results` of the search that was sent: with the `ext` that was kept back, and with what the
        client's source says of the pipeline."""
        ext = {"ext": self.body["ext"]} if "ext" in self.body else {}
        for entry in entries:
            found = dict(entry)
            for key in ("input_data", "output_data"):
                source = found.get(key)
                if isinstance(source, Mapping):
                    kept = {name: value for name, value in source.items() if name not in ASIDE}
                    found[key] = self._with_aside({**kept, **ext})
            self._show(found)

    async def _request(self) -> Mapping[str, Any]:
        """The source after all request processors, those that run with the search included."""
        async with self._lock:
            if self._final is None:
                natives = self.pipeline.split.request
                lenient = self.verbose is not None
                found = await self.normaliser.normal(self.body, natives, lenient=lenient, from_url=not self.folded)
                self._final = {**found.after, **self.aside}
            return self._final

    def _failed(self, step: SearchStep, started: float, before: Any, error: BridgeError) -> None:
        """Pass over a failure. Raises it where it is to end the search."""
        if not step.ignore_failure and self.verbose is None:
            raise error
        before = self._with_aside(before) if isinstance(before, Mapping) else before
        if step.ignore_failure and step.kind in _SWALLOWING:
            self._note(step, started, before, before)
        else:
            self._note(step, started, before, None, error)

    def _note(
        self, step: SearchStep, started: float, before: Any, after: Any, error: BridgeError | None = None
    ) -> None:
        entry: Json = {"processor_name": step.kind}
        if step.tag is not None:
            entry["tag"] = step.tag
        entry["duration_millis"] = int((time.monotonic() - started) * 1000)
        entry["status"] = "success" if error is None else "fail"
        if error is not None:
            entry["error"] = error.reason
        self._show({**entry, "input_data": before, "output_data": after})

    def _show(self, entry: Mapping[str, Any]) -> None:
        if self.verbose is not None:
            self.verbose.append(entry)

    def _with_aside(self, source: Mapping[str, Any]) -> Json:
        """A source with what the client's says of the pipeline, as the cluster shows it in verbose mode."""
        return {**source, **self.aside}


def _hits(response: Mapping[str, Any]) -> Any:
    hits = response.get("hits")
    return hits.get("hits") if isinstance(hits, Mapping) else None
