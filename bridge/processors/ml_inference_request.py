"""`ml_inference` on the way in: a model's output goes into the query, or becomes it (contract/processors.md section 2).

Differs from ML Commons as section 14 says: several maps are applied in order to one query, `ignore_missing` leaves the
query alone without a call, and `query_template` is filled as a tree.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bridge.errors import InvalidRequest, Unparsable
from bridge.processors.inference_config import (
    DEFAULT_MAX_PREDICTION_TASKS,
    KIND,
    InferenceConfig,
    OutputMap,
    read_config,
    read_maps,
)
from bridge.processors.jsonpath import path_of
from bridge.processors.model_answer import ModelAnswer
from bridge.processors.model_call import ModelCall, together
from bridge.processors.properties import Properties
from bridge.processors.search import Json, SearchContext, SearchServices
from bridge.processors.template import Template, Unfillable, json_text

_QUERY = ("query.", "$.query.")
_EXT = ("ext.", "$.ext.")
_EXT_SECTIONS = ("ml_inference", "generative_qa_parameters")
_INDEXED = re.compile(r"([^\[\]]*)\[(\d+)\]")
_MOST_PLACES = 10_000


class MLInferenceRequest:
    """See RequestProcessor."""

    def __init__(self, config: InferenceConfig, query_template: str | None, services: SearchServices) -> None:
        self._config = config
        self._template = None if query_template is None else Template(query_template, as_text=java_text)
        self._call = ModelCall(config, services.predictor)

    async def rewrite(self, source: Json, context: SearchContext) -> Json:
        """See RequestProcessor.rewrite."""
        context.attributes.update(ext_attributes(source))
        missing = self._missing(source)
        if missing is not None:
            if self._config.ignore_missing:
                return source
            raise InvalidRequest(f"cannot find field: {missing} in query string: {json_text(source)}")
        asked = [self._call.input(self._inputs(source, at)) for at in range(len(self._config.inputs))]
        outputs = await together([partial(self._call.predict, one, context) for one in asked])
        answers = [self._call.answer(one, output) for one, output in zip(asked, outputs, strict=True)]
        if self._template is not None:
            return self._from_template(self._template, answers)
        return self._written(source, answers, context)

    def _missing(self, source: Json) -> str | None:
        """The first required path of the query that leads nowhere."""
        paths = [path for one in self._config.required for path in one.values()]
        if self._template is None:
            paths += [key for one in self._config.required_outputs for key in one if key.startswith(_QUERY)]
        return next((path for path in paths if path_of(path).read(source) is None), None)

    def _inputs(self, source: Json, at: int) -> dict[str, Any]:
        found = {name: path_of(path).read(source) for name, path in self._config.inputs[at].items()}
        return {name: value for name, value in found.items() if value is not None}

    def _from_template(self, template: Template, answers: Sequence[ModelAnswer]) -> Json:
        values: dict[str, Any] = {}
        for outputs, answer in zip(self._config.outputs, answers, strict=True):
            values.update({key: answer.pooled(path) for key, path in outputs.items()})
        try:
            found = template.fill(values)
        except Unfillable:
            text = template.plain(values)
            raise Unparsable(f"The query template gives no JSON: {text}", kind="json_parse_exception") from None
        if not isinstance(found, dict):
            raise Unparsable(f"The query template gives no object: {json_text(found)}")
        return found

    def _written(self, source: Json, answers: Sequence[ModelAnswer], context: SearchContext) -> Json:
        found: Json = copy.deepcopy(source)
        for outputs, answer in zip(self._config.outputs, answers, strict=True):
            write_outputs(found, outputs, answer, context)
        return found


def write_outputs(source: Json, outputs: OutputMap, answer: ModelAnswer, context: SearchContext) -> None:
    """Put one map's values into `source`, in place, where their paths exist or lie below `ext`; each becomes an
    attribute of the search as well. Raises InvalidRequest for a path that is none."""
    for key, path in outputs.items():
        value = answer.pooled(path)
        context.attributes[key] = value
        place = path_of(key)
        if key.startswith(_EXT):
            prepare(source, key.removeprefix("$."))
        if place.exists(source):
            place.put(source, copy.deepcopy(value))


def prepare(source: Json, path: str) -> None:
    """Make the objects that a path below `ext` needs; what stands in the way is left alone."""
    here: Any = source
    for part in re.split(r"(?<!\\)\.", path):
        indexed = _INDEXED.fullmatch(part)
        here = here.setdefault(part, {}) if indexed is None else _element(here, indexed[1], int(indexed[2]))
        if not isinstance(here, dict):
            return


def _element(here: Json, name: str, at: int) -> Any:
    items = here.setdefault(name, [])
    if not isinstance(items, list) or at > _MOST_PLACES:
        return None
    items += [None] * (at + 1 - len(items))
    if items[at] is None:
        items[at] = {}
    return items[at]


def ext_attributes(source: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that the caller's own `ext` brings: `ext.ml_inference.x` and `ext.generative_qa_parameters.x`."""
    ext = source.get("ext")
    found = {}
    for section in _EXT_SECTIONS:
        values = ext.get(section) if isinstance(ext, dict) else None
        if isinstance(values, dict):
            found.update({f"ext.{section}.{name}": value for name, value in values.items()})
    return found


def java_text(value: Any) -> str:
    """A value between quotes of a query template, as the real server prints it: lists as Java does."""
    if isinstance(value, list):
        return "[" + ", ".join(java_text(item) for item in value) + "]"
    return json_text(value)


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> MLInferenceRequest:
    """Raises InvalidRequest with the real server's texts."""
    properties = Properties(KIND, config, tag=tag)
    model_id = properties.text("model_id")
    query_template = properties.optional_text("query_template")
    model_config = properties.optional_mapping("model_config")
    maps = read_maps(properties)
    for name, lists in (
        ("input", (maps.inputs, maps.optional_inputs)),
        ("output", (maps.outputs, maps.optional_outputs)),
    ):
        if not any(lists):
            raise InvalidRequest(
                f"Please provide at least one non-empty {name}_map or optional_{name}_map for ML Inference Search "
                "Request Processor"
            )
    most = properties.integer("max_prediction_tasks", DEFAULT_MAX_PREDICTION_TASKS)
    found = read_config(properties, model_id, model_config, maps, most)
    properties.finish_search()
    return MLInferenceRequest(found, query_template, services)
