"""The configuration that both `ml_inference` processors of the search path share (contract/processors.md 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

from bridge.errors import InvalidRequest
from bridge.processors.properties import Properties, java_type
from bridge.processors.template import json_text

KIND = "ml_inference"
REMOTE = "remote"
DEFAULT_MODEL_INPUT = '{ "parameters": ${ml_inference.parameters} }'
DEFAULT_MAX_PREDICTION_TASKS = 10

InputMap: TypeAlias = Mapping[str, str]
"""Name of a model's input -> path in the query or document."""
OutputMap: TypeAlias = Mapping[str, str | None]
"""Where a value goes -> path in the model's answer; None is the whole of it."""


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """What a processor asks which model. `inputs` and `outputs` hold the optional maps too, index by index; `required`
    and `required_outputs` do not."""

    model_id: str
    function_name: str
    model_input: str
    model_config: Mapping[str, str]
    full_response_path: bool
    ignore_missing: bool
    required: Sequence[InputMap]
    required_outputs: Sequence[OutputMap]
    inputs: Sequence[InputMap]
    outputs: Sequence[OutputMap]

    def required_at(self, at: int) -> InputMap:
        """The required inputs of map `at`."""
        return self.required[at] if at < len(self.required) else {}


@dataclass(frozen=True, kw_only=True)
class MapLists:
    """The four lists of maps as they are written."""

    inputs: Sequence[InputMap]
    outputs: Sequence[OutputMap]
    optional_inputs: Sequence[InputMap]
    optional_outputs: Sequence[OutputMap]


def read_maps(properties: Properties) -> MapLists:
    """Raises InvalidRequest; a list that holds something else than maps is 500 class_cast in the real server."""
    return MapLists(
        inputs=_maps(properties, "input_map", nulls=False),
        outputs=_maps(properties, "output_map", nulls=True),
        optional_inputs=_maps(properties, "optional_input_map", nulls=False),
        optional_outputs=_maps(properties, "optional_output_map", nulls=True),
    )


def _maps(properties: Properties, name: str, *, nulls: bool) -> list[Any]:
    maps = properties.optional_list(name)
    for one in maps:
        if not isinstance(one, dict):
            raise properties.wrong(name, f"property isn't a list of maps, but holds [{java_type(one)}]")
        for value in one.values():
            if not isinstance(value, str) and not (nulls and value is None):
                raise properties.wrong(name, f"property isn't a map of strings, but holds [{java_type(value)}]")
    return maps


def read_config(
    properties: Properties, model_id: str, model_config: Mapping[str, Any], maps: MapLists, most: int
) -> InferenceConfig:
    """The rest of what both processors read, in the real server's order. Raises InvalidRequest with its texts."""
    ignore_missing = properties.flag("ignore_missing")
    function_name = properties.optional_text("function_name") or REMOTE
    model_input = properties.optional_text("model_input")
    remote = function_name.lower() == REMOTE
    if model_input is None:
        if not remote:
            raise InvalidRequest("Please provide model input when using a local model in ML Inference Processor")
        model_input = DEFAULT_MODEL_INPUT
    full_response_path = properties.flag("full_response_path", not remote)
    inputs = combined(maps.inputs, maps.optional_inputs)
    outputs = combined(maps.outputs, maps.optional_outputs)
    _check_counts(inputs, outputs, most)
    return InferenceConfig(
        model_id=model_id,
        function_name=function_name,
        model_input=model_input,
        model_config={name: json_text(value) for name, value in model_config.items()},
        full_response_path=full_response_path,
        ignore_missing=ignore_missing,
        required=maps.inputs,
        required_outputs=maps.outputs,
        inputs=inputs,
        outputs=outputs,
    )


def combined(required: Sequence[Mapping[str, Any]], optional: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The maps joined index by index; the optional one wins."""
    nothing: Mapping[str, Any] = {}
    return [{**first, **second} for first, second in zip_longest(required, optional, fillvalue=nothing)]


def _check_counts(inputs: Sequence[Any], outputs: Sequence[Any], most: int) -> None:
    if len(inputs) > most:
        raise InvalidRequest(
            f"The number of prediction task setting in this process is {len(inputs)}. It exceeds the "
            f"max_prediction_tasks of {most}. Please reduce the size of input_map or optional_input_map or increase "
            "max_prediction_tasks."
        )
    if inputs and outputs and len(inputs) != len(outputs):
        raise InvalidRequest(
            "when output_maps/optional_output_maps and input_maps/optional_input_maps are provided, their length "
            f"needs to match. The input is in length of {len(inputs)}, while output_maps is in the length of "
            f"{len(outputs)}. Please adjust mappings."
        )
