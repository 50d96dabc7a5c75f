"""One model asked with the inputs that a processor has gathered (contract/processors.md section 2, steps 3 and 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, MLOutput
from bridge.errors import InvalidRequest, Unavailable
from bridge.models.predictor import Predictor
from bridge.processors.inference_config import DEFAULT_MODEL_INPUT, InferenceConfig
from bridge.processors.model_answer import ModelAnswer
from bridge.processors.payload import TEXT_KEYS, function_of, input_of
from bridge.processors.search import SearchContext
from bridge.processors.template import Template, Unfillable, json_text

T = TypeVar("T")

CALLS_AT_ONCE = 32
"""Calls of one search that are under way together: hits of a page do not wait for each other, and a large page does not
fill the model's queue alone."""

_INPUT, _INFERENCE, _CONFIG = "input_map.", "ml_inference.", "model_config."
_PARAMETERS = "ml_inference.parameters"


class ModelCall:
    """Builds inputs and asks; holds no state of a search."""

    def __init__(self, config: InferenceConfig, predictor: Predictor) -> None:
        self._config = config
        self._predictor = predictor
        self._remote = config.function_name.lower() == FunctionName.REMOTE.lower()
        self._template = _template(config, self._remote)

    def input(self, given: Mapping[str, Any]) -> MLInput:
        """The model's input made of what was found for each name; a name in `given` beats one in model_config.

        Raises InvalidRequest when the payload is none, or the function's name is wrong.
        """
        config = self._config
        function = function_of(config.function_name)
        values = self._values(given)
        try:
            payload = self._template.fill(values)
        except Unfillable:
            raise InvalidRequest(f"Invalid payload: {self._template.plain(values)}") from None
        return input_of(payload, function, self._written(given))

    def _values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {
            _INPUT + name: v for name, v in given.items() if name not in self._config.model_config
        }
        if self._remote:
            texts = {name: json_text(value) for name, value in given.items()}
            values[_PARAMETERS] = {**self._config.model_config, **texts}
        else:
            values.update({_INFERENCE + name: value for name, value in {**self._config.model_config, **given}.items()})
        return values

    def _written(self, given: Mapping[str, Any]) -> frozenset[str]:
        """The parameters whose values the author of the pipeline wrote."""
        if self._config.model_input == DEFAULT_MODEL_INPUT:
            return frozenset(name for name in self._config.model_config if name not in given)
        return self._template.constants("parameters")

    def answer(self, asked: MLInput, output: MLOutput) -> ModelAnswer:
        """What the model said, ready to be read."""
        return ModelAnswer(
            output,
            asked,
            full_response_path=self._config.full_response_path,
            ignore_missing=self._config.ignore_missing,
        )

    async def predict(self, asked: MLInput, context: SearchContext) -> MLOutput:
        """Ask the model within what is left of the search's time. Raises what Predictor.predict raises."""
        seconds = None
        if context.deadline is not None:
            seconds = context.deadline - asyncio.get_running_loop().time()
            if seconds <= 0:
                raise Unavailable("The time of this search is over.")
        return await self._predictor.predict(self._config.model_id, asked, deadline=seconds, caller=context.caller)


def _template(config: InferenceConfig, remote: bool) -> Template:
    def wanted(name: str) -> bool:
        if name.startswith(_INPUT):
            # As in ML Commons, where a name in model_config hides the input from the template.
            return name.removeprefix(_INPUT) not in config.model_config
        return name == _PARAMETERS if remote else name.startswith(_INFERENCE)

    return Template(
        with_config(config.model_input, config.model_config),
        wanted=wanted,
        texts=frozenset() if remote else TEXT_KEYS,
    )


def with_config(text: str, model_config: Mapping[str, str]) -> str:
    """`${model_config.x}` filled. Both were written by the pipeline's author, so the value counts as he wrote it; only
    where the text would be no JSON then, values between quotes are escaped."""
    filled = text
    for name, value in model_config.items():
        filled = filled.replace(f"${{{_CONFIG}{name}}}", value)
    if filled == text or Template(filled).readable:
        return filled
    known = frozenset(_CONFIG + name for name in model_config)
    found = Template(text, wanted=known.__contains__)
    if not found.readable:
        return filled
    try:
        return json_text(found.fill({_CONFIG + name: value for name, value in model_config.items()}))
    except Unfillable:
        return filled


async def together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results of all calls, in order; CALLS_AT_ONCE of them run at the same time. The first failure cancels the
    rest and is raised."""
    slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await call()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
