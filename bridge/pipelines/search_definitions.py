"""Search pipelines as users write them: checked, split, and made ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import BridgeError, InvalidRequest
from bridge.pipelines.search_split import OVERSAMPLE, TRUNCATE, SearchSplit, split_search
from bridge.pipelines.split import Processor, chain_of, elements_of
from bridge.processors.properties import Properties, java_type
from bridge.processors.registry import NATIVE_RESPONSE, REQUEST, RESPONSE
from bridge.processors.search import RequestProcessor, ResponseProcessor, SearchServices

AD_HOC = "_ad_hoc_pipeline"
REQUEST_KEY, RESPONSE_KEY, PHASE_KEY = "request_processors", "response_processors", "phase_results_processors"
_COMMON = ("tag", "description", "ignore_failure")
UNSERVED = frozenset(
    (
        "neural_query_enricher", "neural_sparse_two_phase_processor", "question_rewrite", "agentic_query_translator",
        "retrieval_augmented_generation", "agentic_context", "hybrid_score_explanation", "normalization-processor",
        "score-ranker-processor", "ml_inference", "rerank",
    )
)  # fmt: skip
"""Processors of ML Commons and neural-search: where the cluster lacks one too, the refusal says so."""


@dataclass(frozen=True, kw_only=True)
class SearchStep:
    """What every processor has; `config` as the user wrote it."""

    kind: str
    config: Mapping[str, Any]
    tag: str | None = None
    ignore_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class RequestStep(SearchStep):
    """`processor` is None for one of the cluster's own: the cluster runs it."""

    processor: RequestProcessor | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseStep(SearchStep):
    """One of ours, or one of the cluster's own that the bridge runs as well."""

    processor: ResponseProcessor


@dataclass(frozen=True, kw_only=True)
class SearchPipeline:
    """A pipeline that holds processors of ours. `broken` is set where a stored definition can't be run by this version
    of the bridge: no search may go through it."""

    name: str
    definition: Mapping[str, Any]
    split: SearchSplit = field(default_factory=SearchSplit)
    rewriting: tuple[RequestStep, ...] = ()
    results: tuple[ResponseStep, ...] = ()
    broken: BridgeError | None = None

    @property
    def phase(self) -> Any:
        """The processors between the search's phases: the cluster's alone."""
        return self.definition.get(PHASE_KEY)

    def natives(self) -> dict[str, Any]:
        """The definition without processors of ours: what the cluster is to judge."""
        split = self.split
        response = [*split.response, *((kind, c) for kind, c in split.results if kind not in RESPONSE)]
        return self._native([*self._before(), *split.request], response)

    def residue(self) -> dict[str, Any]:
        """What stands in the cluster under the pipeline's name, for searches that reach the cluster past the bridge:
        nothing that follows one of ours in the response, and no oversampling that nobody would undo."""
        request = [*self._before(), *self.split.request]
        if not any(kind == TRUNCATE for kind, _ in self.split.response):
            request = [processor for processor in request if processor[0] != OVERSAMPLE]
        return self._native(request, self.split.response)

    def frame(self) -> dict[str, Any] | None:
        """What stands around the processors, their lists empty: the part of an inline definition that no search would
        take to the cluster, which has to judge it. None where there are lists of processors and nothing else."""
        chains = (REQUEST_KEY, RESPONSE_KEY, PHASE_KEY)
        found = {key: [] if key in chains and isinstance(one, list) else one for key, one in self.definition.items()}
        return found if any(key not in chains or one != [] for key, one in found.items()) else None

    def _before(self) -> list[Processor]:
        return [processor for processor in self.split.rewriting if processor[0] not in REQUEST]

    def _native(self, request: Sequence[Processor], response: Sequence[Processor]) -> dict[str, Any]:
        found = dict(self.definition)
        for key, chain in ((REQUEST_KEY, request), (RESPONSE_KEY, response)):
            if isinstance(found.get(key), list):
                found[key] = elements_of(chain)
        return found


def broken_search(name: str, definition: Mapping[str, Any], error: BridgeError) -> SearchPipeline:
    """A stored pipeline that this bridge can't run."""
    return SearchPipeline(name=name, definition=definition, broken=error)


def read_search(name: str, definition: Any, services: SearchServices) -> SearchPipeline | None:
    """The pipeline, or None when nothing in it is ours and the cluster is to judge it.

    Raises InvalidRequest with the real server's texts, or one that says what can't be split faithfully.
    """
    if not isinstance(definition, Mapping):
        return None
    request, response = _chain(definition, REQUEST_KEY), _chain(definition, RESPONSE_KEY)
    if not any(kind in REQUEST for kind, _ in request) and not any(kind in RESPONSE for kind, _ in response):
        return None
    split = split_search(request, response, ours_request=REQUEST, ours_response=RESPONSE, reproduced=NATIVE_RESPONSE)
    return SearchPipeline(
        name=name,
        definition=definition,
        split=split,
        rewriting=tuple(_request_step(processor, services) for processor in split.rewriting),
        results=tuple(_response_step(processor, services) for processor in split.results),
    )


def _chain(definition: Mapping[str, Any], key: str) -> tuple[Processor, ...]:
    """The processors of a list; none where it is something that the cluster will refuse.

    Raises InvalidRequest for one that is no object: split off, the list would be lost.
    """
    elements = definition.get(key)
    if not isinstance(elements, list):
        return ()
    for element in elements:
        if not isinstance(element, Mapping):
            kind = "null" if element is None else java_type(element)
            reason = f"[{key}] processor isn't a map, but of type [{kind}]"
            raise InvalidRequest(reason, kind="parse_exception", property_name=key)
    return chain_of(elements)


def _request_step(processor: Processor, services: SearchServices) -> RequestStep:
    kind, config = processor
    factory = REQUEST.get(kind)
    common, own = _common(kind, config)
    made = factory(own, services, tag=common["tag"]) if factory is not None else None
    return RequestStep(processor=made, **common)


def _response_step(processor: Processor, services: SearchServices) -> ResponseStep:
    kind, config = processor
    factory = RESPONSE.get(kind) or NATIVE_RESPONSE[kind]
    common, own = _common(kind, config)
    return ResponseStep(processor=factory(own, services, tag=common["tag"]), **common)


def _common(kind: str, config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a SearchStep, and what of the configuration is the processor's own."""
    if not isinstance(config, dict):
        raise Properties(kind, {}).not_a_map(config)
    own = dict(config)
    common = Properties(kind, {key: own.pop(key) for key in _COMMON if key in own}, anonymous=True)
    tag = common.optional_text("tag")
    ignore_failure = common.flag("ignore_failure")
    common.optional_text("description")
    return {"kind": kind, "config": config, "tag": tag, "ignore_failure": ignore_failure}, own
