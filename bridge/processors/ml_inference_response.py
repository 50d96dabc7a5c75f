"""`ml_inference` on the way out: a model's output goes into the hits or into `ext` (contract/processors.md section 3).

Differs from ML Commons as sections 14 and 15 say: hits keep their rank order, `took`, `pit_id` and `ext` are kept, a
hit that lacks its fields costs no call, and what can't be written is one clean error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, MLOutput
from bridge.errors import BridgeError, InvalidRequest, TooManyRequests, Unavailable
from bridge.processors.hit_inputs import Gathered, HitInputs
from bridge.processors.inference_config import (
    DEFAULT_MAX_PREDICTION_TASKS,
    KIND,
    InferenceConfig,
    OutputMap,
    read_config,
    read_maps,
)
from bridge.processors.model_answer import ModelAnswer
from bridge.processors.model_call import ModelCall, together
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices
from bridge.processors.shared_calls import SharedCall, alone, joined

EXT = "ext.ml_inference"
_DEFAULT_OUTPUT: OutputMap = {"inference_results": None}
_log = structlog.get_logger()


class MLInferenceResponse:
    """See ResponseProcessor."""

    def __init__(self, config: InferenceConfig, *, one_to_one: bool, override: bool, services: SearchServices) -> None:
        self._config = config
        self._one_to_one = one_to_one
        self._override = override
        self._function = services.function
        self._call = ModelCall(config, services.predictor)

    async def process(self, response: Json, context: SearchContext) -> Json:
        """See ResponseProcessor.process."""
        outer = response.get("hits")
        hits = outer.get("hits") if isinstance(outer, dict) else None
        if not isinstance(outer, dict) or not hits:
            return response
        gathered = await HitInputs(self._config, hits, context).gather(one_to_one=self._one_to_one)
        answers = await self._answers(gathered, context)
        written = _Written(hits, override=self._override, spread=not self._one_to_one)
        for one, answer in zip(gathered, answers, strict=True):
            if answer is not None:
                self._write(written, one, answer, lenient=context.ignore_failure and self._one_to_one)
        found = {**response, "hits": {**outer, "hits": written.hits()}}
        return with_ext(found, written.ext) if written.ext else found

    def _write(self, written: _Written, one: Gathered, answer: ModelAnswer, *, lenient: bool) -> None:
        outputs = self._config.outputs[one.at] if one.at < len(self._config.outputs) else _DEFAULT_OUTPUT
        try:
            written.put(one.hits, {key: answer.value(path) for key, path in outputs.items()})
        except BridgeError as error:
            if not lenient:
                raise
            _passed_over(error)

    async def _answers(self, gathered: Sequence[Gathered], context: SearchContext) -> list[ModelAnswer | None]:
        """The answer to each; None where it failed and the search goes on without."""
        asked = [self._call.input(one.inputs) for one in gathered]
        calls = await self._calls(asked)
        lenient = context.ignore_failure and self._one_to_one
        parts = await together([partial(self._ask, call, asked, context, lenient) for call in calls])
        found: list[ModelAnswer | None] = [None] * len(asked)
        for call, outputs in zip(calls, parts, strict=True):
            for at, output in zip(call.places, outputs, strict=True):
                found[at] = None if output is None else self._call.answer(asked[at], output)
        return found

    async def _calls(self, asked: Sequence[MLInput]) -> list[SharedCall]:
        if not self._one_to_one or len(asked) < 2 or self._function is None:
            return alone(asked)
        remote = await self._function(self._config.model_id) is FunctionName.REMOTE
        return alone(asked) if remote else joined(asked)

    async def _ask(
        self, call: SharedCall, asked: Sequence[MLInput], context: SearchContext, lenient: bool
    ) -> list[MLOutput | None]:
        try:
            parts = call.part(await self._call.predict(call.input, context))
            if parts is not None:
                return [*parts]
        except BridgeError as error:
            if not lenient:
                raise
            if len(call.places) == 1 or isinstance(error, TooManyRequests | Unavailable):
                _passed_over(error)
                return [None] * len(call.places)
        # The results could not be told apart, or one of the texts broke the call: each for itself.
        singles = [SharedCall(input=asked[at], places=(at,), counts=(0,)) for at in call.places]
        return [output for single in singles for output in await self._ask(single, asked, context, lenient)]


def _passed_over(error: BridgeError) -> None:
    # The reason may quote the model's input: a document's text is for who searches, not for the log.
    _log.warning("a hit stays without the model's output", error=error.kind)


class _Written:
    """The hits with what was written into their documents; a key is flat, dots or not."""

    def __init__(self, hits: Sequence[Json], *, override: bool, spread: bool) -> None:
        self._hits = hits
        self._override = override
        self._spread = spread
        self._added: dict[int, dict[str, Any]] = {}
        self.ext: dict[str, Any] = {}

    def put(self, places: Sequence[int], values: Mapping[str, Any]) -> None:
        """Write one answer's values into the hits that it belongs to; a list as long as these is spread over them."""
        for key, value in values.items():
            if key.startswith(EXT):
                self.ext[key.removeprefix(EXT + ".")] = value
                continue
            spread = self._spread and isinstance(value, list) and len(value) == len(places)
            for number, place in enumerate(places):
                self._put(place, key, value[number] if spread else value)

    def _put(self, place: int, key: str, value: Any) -> None:
        source = self._hits[place].get("_source")
        if isinstance(source, dict) and (self._override or key not in source):
            self._added.setdefault(place, {})[key] = value

    def hits(self) -> list[Json]:
        """The hits in their order; those that nothing was written into are the same objects."""
        return [
            {**hit, "_source": {**hit["_source"], **self._added[at]}} if at in self._added else hit
            for at, hit in enumerate(self._hits)
        ]


def with_ext(response: Json, values: Mapping[str, Any]) -> Json:
    """The answer with values added to `ext.ml_inference`; what stood there before stays."""
    known = response.get("ext")
    ext = known if isinstance(known, dict) else {}
    section = ext.get("ml_inference")
    return {**response, "ext": {**ext, "ml_inference": {**(section if isinstance(section, dict) else {}), **values}}}


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> MLInferenceResponse:
    """Raises InvalidRequest with the real server's texts."""
    properties = Properties(KIND, config, tag=tag)
    model_id = properties.text("model_id")
    model_config = properties.optional_mapping("model_config")
    maps = read_maps(properties)
    most = properties.integer("max_prediction_tasks", DEFAULT_MAX_PREDICTION_TASKS)
    override = properties.flag("override")
    one_to_one = properties.flag("one_to_one")
    found = read_config(properties, model_id, model_config, maps, most)
    if one_to_one and any(key.startswith(EXT) for one in found.outputs for key in one):
        raise InvalidRequest("Write model response to search extension does not support when one_to_one is true.")
    properties.finish_search()
    return MLInferenceResponse(found, one_to_one=one_to_one, override=override, services=services)
