"""What every search processor of ours is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.domain.caller import Caller
from bridge.domain.names import FunctionName
from bridge.models.predictor import Predictor

Json = dict[str, Any]
"""An object as `wire.loads_exact` reads it: numbers with a point are Decimal."""


@dataclass(frozen=True, kw_only=True)
class SearchServices:
    """What search processors are built with. `function` tells what a model computes (REMOTE where a connector asks
    somebody else), raising NotFound; without it no two texts share a model call."""

    predictor: Predictor
    function: Callable[[str], Awaitable[FunctionName]] | None = None


@dataclass(kw_only=True)
class SearchContext:
    """One search on its way through a pipeline.

    `request` gives the source after all request processors in the server's normal form (contract/processors.md
    section 12), `ext` included; asking for it may cost a call to the cluster, so a processor asks only if it needs it.
    `attributes` is the pipeline processing context (`original_size`, one entry for each output of a request
    ml_inference, ...). `deadline` is in seconds of the event loop's clock, None: the predictor's own.
    `ignore_failure` is that of the processor which runs: one that asks a model for each hit then keeps what succeeded.
    """

    request: Callable[[], Awaitable[Mapping[str, Any]]]
    attributes: dict[str, Any] = field(default_factory=dict)
    caller: Caller | None = None
    deadline: float | None = None
    ignore_failure: bool = False


class RequestProcessor(Protocol):
    """A configured processor; holds no state of a request. `tag` and `ignore_failure` are the pipeline's business."""

    async def rewrite(self, source: Json, context: SearchContext) -> Json:
        """The search body afterwards; `source` is in the server's normal form and must not be changed in place.

        Raises the BridgeError that the search fails with.
        """
        ...


class ResponseProcessor(Protocol):
    """A configured processor; holds no state of a request."""

    async def process(self, response: Json, context: SearchContext) -> Json:
        """The whole answer of the search afterwards; `response` (with `hits.hits`) must not be changed in place.

        Raises the BridgeError that the search fails with.
        """
        ...


class RequestFactory(Protocol):
    """Builds a processor from its configuration; raises InvalidRequest with the real server's text at PUT."""

    def __call__(
        self, config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None
    ) -> RequestProcessor: ...


class ResponseFactory(Protocol):
    """Builds a processor from its configuration; raises InvalidRequest with the real server's text at PUT."""

    def __call__(
        self, config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None
    ) -> ResponseProcessor: ...
