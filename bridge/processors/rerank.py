"""`rerank`: new scores for all hits, by a model or by a field, and their order (contract/processors.md section 8)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from bridge.domain.tensor import MLOutput, TextSimilarityInput
from bridge.errors import EngineError, InvalidRequest
from bridge.models.predictor import Predictor
from bridge.processors.hits import fields_of, hits_of, source_of, total_of, with_hits
from bridge.processors.java_text import java_text
from bridge.processors.properties import Properties
from bridge.processors.rerank_query import query_text
from bridge.processors.search import Json, SearchContext, SearchServices
from bridge.processors.source_path import ABSENT, at_path, without

KIND = "rerank"
TYPES = ("ml_opensearch", "by_field")
MAX_DOCUMENT_FIELDS = 50
"""`plugins.neural_search.reranker_max_document_fields` of the reference."""
_PREVIOUS = "previous_score"
# "NaN" and "Infinity", which Java reads, have no rank.
_JAVA_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFdD]?", re.ASCII)


class Scoring(Protocol):
    """Where the scores come from."""

    async def scores(self, hits: Sequence[Json], context: SearchContext) -> list[float]:
        """One for each hit. Raises the BridgeError that the search fails with."""
        ...

    def shown(self, hit: Json) -> Json:
        """The hit as it goes out, but for its score."""
        ...


class Rerank:
    """See ResponseProcessor. Equal scores keep their order; `sort` values and totals stay as they were."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring

    async def process(self, response: Json, context: SearchContext) -> Json:
        """Raises InvalidRequest, and what the model raises."""
        hits = hits_of(response)
        if total_of(response) == 0:
            return response
        scores = await self.scoring.scores(hits, context)
        if not hits:
            return response
        changed = [{**self.scoring.shown(hit), "_score": score} for hit, score in zip(hits, scores, strict=True)]
        ordered = sorted(changed, key=lambda hit: float(hit["_score"]), reverse=True)
        return with_hits(response, ordered, max_score=ordered[0]["_score"])


class ByModel:
    """Scores of a TEXT_SIMILARITY model, all hits in one call."""

    def __init__(self, model_id: str, fields: Sequence[str] | None, predictor: Predictor) -> None:
        self.model_id = model_id
        self._fields = fields
        self._predictor = predictor

    async def scores(self, hits: Sequence[Json], context: SearchContext) -> list[float]:
        """Raises InvalidRequest when the search says no query text or has no hits, EngineError for an odd answer."""
        text = query_text(await context.request())
        if self._fields is None:
            raise InvalidRequest(
                'No document context found! Perhaps "context.document_fields" is missing from the pipeline definition?',
                kind="illegal_state_exception",
            )
        if not hits:
            raise InvalidRequest("No text documents were provided")
        texts = tuple("".join(document_text(hit, field) for field in self._fields) for hit in hits)
        asked = TextSimilarityInput(query_text=text, text_docs=texts)
        output = await self._predictor.predict(
            self.model_id, asked, deadline=seconds_left(context), caller=context.caller
        )
        return similarities(output, len(hits))

    def shown(self, hit: Json) -> Json:
        """Unchanged."""
        return hit


class ByField:
    """Scores that stand in the documents."""

    def __init__(self, target: str, *, remove: bool, keep: bool) -> None:
        self._target = target
        self._remove = remove
        self._keep = keep

    async def scores(self, hits: Sequence[Json], context: SearchContext) -> list[float]:
        """Raises InvalidRequest for a hit whose field is missing or no number."""
        return [self._score(hit) for hit in hits]

    def _score(self, hit: Json) -> float:
        source, place = source_of(hit), hit.get("_id")
        if source is None:
            raise InvalidRequest(f"There is no source field to be able to perform rerank on hit [{place}]")
        value = at_path(source, self._target)
        if value is ABSENT or value is None:
            raise InvalidRequest(f"The field to rerank by is not found at hit [{place}]")
        # Models answer lists of one number; the reference refuses them.
        number = _number(value[0] if isinstance(value, list) and len(value) == 1 else value)
        if number is None:
            raise InvalidRequest(
                f"The field mapping to rerank by [{java_text(value)}] is not Numerical, instead of type"
                f" [{_java_class(value)}]"
            )
        return number

    def shown(self, hit: Json) -> Json:
        """With the former score, without the target field, as configured."""
        source = source_of(hit) or {}
        if self._keep:
            source = {**source, _PREVIOUS: hit.get("_score")}
        if self._remove:
            source = without(source, self._target)
        return {**hit, "_source": source}


def seconds_left(context: SearchContext) -> float | None:
    """What the search's deadline leaves to a model."""
    if context.deadline is None:
        return None
    return max(0.0, context.deadline - asyncio.get_running_loop().time())


def document_text(hit: Json, field: str) -> str:
    """A field's text for the model: `fields` before `_source`, "" where missing; what the objects of a list have there
    is joined by spaces, a list of texts reads `[a, b]`."""
    fields = fields_of(hit)
    if field in fields:
        return java_text(next(iter(fields[field]), None))
    source = source_of(hit)
    value = ABSENT if source is None else at_path(source, field)
    if value is ABSENT or value is None:
        return ""
    return " ".join(java_text(item) for item in value) if isinstance(value, list) else java_text(value)


def similarities(output: MLOutput, count: int) -> list[float]:
    """The first number of each tensor, as 32-bit floats with their shortest digits. Raises EngineError."""
    tensors = [tensor for result in output.inference_results for tensor in result.output if tensor.data is not None]
    if len(tensors) != count or any(tensor.data is None or not len(tensor.data) for tensor in tensors):
        raise EngineError(f"The model gave {len(tensors)} scores for {count} documents.")
    return [shortest(float(tensor.data[0])) for tensor in tensors if tensor.data is not None]


def shortest(number: float) -> float:
    """The number that the shortest digits of its 32-bit float say; itself where it does not fit into one."""
    with np.errstate(over="ignore"):
        narrow = np.float32(number)
    return float(str(narrow)) if np.isfinite(narrow) else number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    if isinstance(value, str):
        said = _JAVA_NUMBER.fullmatch(value.strip())
        if said is None:
            return None
        value = said[1]
    try:
        return shortest(float(value))
    except OverflowError:
        return None


def _java_class(value: Any) -> str:
    names = {bool: "Boolean", str: "String", list: "ArrayList", dict: "HashMap"}
    return names.get(type(value), "Double")


def build(config: Mapping[str, Any], services: SearchServices, *, tag: str | None = None) -> Rerank:
    """Raises InvalidRequest with the real server's texts."""
    given = [name for name in sorted(TYPES) if name in config]
    if not given:
        raise InvalidRequest(f"No rerank type found. Possible rerank types are: [{', '.join(TYPES)}]")
    if len(given) > 1:
        raise InvalidRequest(f"Multiple rerank types found: [{', '.join(given)}]. Only one is permitted.")
    properties = Properties(KIND, config, tag=tag)
    scoring = _by_field(properties, tag) if given[0] == "by_field" else _by_model(properties, services, tag)
    properties.finish_search()
    return Rerank(scoring)


def _by_field(properties: Properties, tag: str | None) -> ByField:
    inner = Properties(KIND, properties.mapping("by_field"), tag=tag)
    return ByField(
        inner.text("target_field"), remove=inner.flag("remove_target_field"), keep=inner.flag("keep_previous_score")
    )


def _by_model(properties: Properties, services: SearchServices, tag: str | None) -> ByModel:
    fields = _document_fields(properties.mapping("context"))
    inner = Properties(KIND, properties.mapping("ml_opensearch"), tag=tag)
    return ByModel(inner.text("model_id"), fields, services.predictor)


def _document_fields(context: Mapping[str, Any]) -> list[str] | None:
    fields: list[str] | None = None
    for name, value in context.items():
        if name != "document_fields":
            raise InvalidRequest(f"unrecognized context field: {name}")
        if not isinstance(value, list) or not all(isinstance(field, str) for field in value):
            raise InvalidRequest("document_fields must be a list of field names")
        if not value:
            raise InvalidRequest("document_fields must be nonempty")
        if len(value) > MAX_DOCUMENT_FIELDS:
            raise InvalidRequest(
                f"document_fields must not contain more than {MAX_DOCUMENT_FIELDS} fields. Configure by setting"
                " plugins.neural_search.reranker_max_document_fields"
            )
        fields = list(value)
    return fields
