"""`neural` clauses become `knn` clauses: equal hits and scores (contract/processors.md sections 0.9 and 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.tensor import TextDocsInput
from bridge.errors import InvalidRequest, Unparsable
from bridge.models.predictor import Predictor
from bridge.pipelines.query_tree import QueryTree
from bridge.processors.text_embedding import RESPONSE, embeddings, vector_json

DEFAULT_K = 10
_WHAT_TO_FIND = ("query_text", "query_image", "model_id")
_INTEGERS = ("k",)
_REALS = ("max_distance", "min_score", "boost")
_SCALARS = ("_name", "expand_nested_docs", "semantic_field_search_analyzer")
_OBJECTS = ("filter", "method_parameters", "rescore", "query_tokens")
_COUNTS = ("k", "max_distance", "min_score")
_PASSED_ON = ("method_parameters", "rescore", "expand_nested_docs", "boost", "_name", *_COUNTS)


class TooDeep(InvalidRequest):
    """A query that is nested so deeply that it can't be looked through."""


@dataclass(frozen=True, kw_only=True)
class NeuralClause:
    """One clause: the text to embed, the model, and the parameters that go on to `knn` under `field`."""

    field: str
    text: str
    model_id: str
    knn: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.model_id, self.text

    def with_vector(self, vector: Any) -> dict[str, Any]:
        """The `knn` query that stands instead."""
        return {"knn": {self.field: {"vector": vector, **self.knn}}}


def clauses_in(body: Any) -> list[NeuralClause]:
    """All clauses of a search body, in order. Raises InvalidRequest with the real server's texts."""
    found: list[NeuralClause] = []

    def note(value: Any, tree: QueryTree) -> Any:
        found.append(read_clause(value, tree))
        return {}

    _walk(body, QueryTree(note))
    return found


def with_vectors(body: Any, vectors: Mapping[tuple[str, str], Any]) -> Any:
    """`body` with each clause replaced; `vectors` by model id and text. A body without a clause is returned itself."""

    def substitute(value: Any, tree: QueryTree) -> Any:
        clause = read_clause(value, tree)
        return clause.with_vector(vectors[clause.key])

    return _walk(body, QueryTree(substitute))


async def rewritten(
    body: Any, predictor: Predictor, *, caller: Caller | None = None, seconds: float | None = None
) -> Any:
    """`body` with vectors from the models, which may take so many `seconds`; one call per model, all at once. Raises
    what the predictor raises."""
    clauses = clauses_in(body)
    if not clauses:
        return body

    async def ask(model_id: str, texts: list[str]) -> dict[tuple[str, str], Any]:
        asked = TextDocsInput(text_docs=tuple(texts), target_response=(RESPONSE,), kind="query")
        output = await predictor.predict(model_id, asked, deadline=seconds, caller=caller)
        found = embeddings(output, len(texts))
        return {(model_id, text): vector_json(vector) for text, vector in zip(texts, found, strict=True)}

    answers = await asyncio.gather(*(ask(model_id, texts) for model_id, texts in _texts(clauses).items()))
    return with_vectors(body, {key: vector for answer in answers for key, vector in answer.items()})


def _texts(clauses: Iterable[NeuralClause]) -> dict[str, list[str]]:
    """The different texts for each model."""
    texts: dict[str, list[str]] = {}
    for clause in clauses:
        wanted = texts.setdefault(clause.model_id, [])
        if clause.text not in wanted:
            wanted.append(clause.text)
    return texts


def _walk(body: Any, tree: QueryTree) -> Any:
    try:
        return tree.body(body)
    except RecursionError as error:
        raise TooDeep("The query is nested too deeply.") from error


def read_clause(value: Any, tree: QueryTree) -> NeuralClause:
    """Take the value of a `neural` key apart. Raises InvalidRequest."""
    if not isinstance(value, Mapping):
        raise Unparsable("[neural] query malformed, no start_object after query name")
    names = list(value)
    if len(names) != 1:
        pair = names[:2] if names else ["neural", "null"]
        raise Unparsable(f"[neural] query doesn't support multiple fields, found [{pair[0]}] and [{pair[1]}]")
    config = value[names[0]]
    if not isinstance(config, Mapping):
        raise Unparsable("[neural] query malformed, no start_object after field name")
    read = {key: _parameter(key, given) for key, given in config.items()}
    _check(read)
    knn = {key: read[key] for key in _PASSED_ON if key in read}
    if not any(key in knn for key in _COUNTS):
        knn["k"] = DEFAULT_K
    if "filter" in read:
        knn["filter"] = tree.query(read["filter"])
    return NeuralClause(field=names[0], text=read["query_text"], model_id=read["model_id"], knn=knn)


def _parameter(key: str, given: Any) -> Any:
    if isinstance(given, list):
        raise Unparsable(f"[neural] unknown token [START_ARRAY] after [{key}]")
    if given is None:
        raise Unparsable(f"[neural] unknown token [VALUE_NULL] after [{key}]")
    if isinstance(given, Mapping) and key in _OBJECTS:
        return given
    if isinstance(given, bool) and key == "rescore":
        return given
    if isinstance(given, Mapping) or key not in (*_WHAT_TO_FIND, *_INTEGERS, *_REALS, *_SCALARS):
        raise Unparsable(f"[neural] query does not support [{key}]")
    if key in _WHAT_TO_FIND:
        return _text(given)
    return _number(key, given) if key in (*_INTEGERS, *_REALS) else given


def _text(given: Any) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given)


def _number(key: str, given: Any) -> Any:
    """Numbers may come as texts; what goes on is a number."""
    if isinstance(given, (int, float, Decimal)) and not isinstance(given, bool):
        return int(given) if key in _INTEGERS else given
    try:
        return int(given) if key in _INTEGERS else Decimal(given)
    except (ValueError, ArithmeticError, TypeError):
        raise InvalidRequest(f'For input string: "{given}"', kind="number_format_exception") from None


def _check(read: Mapping[str, Any]) -> None:
    wrong = []
    if not (read.get("query_text", "").strip() or read.get("query_image", "").strip()):
        wrong.append("Either query_text or query_image must be provided.")
    if "model_id" not in read:
        wrong.append("model_id must be provided.")
    elif not read["model_id"].strip():
        wrong.append("model_id field can not be empty")
    if sum(key in read for key in _COUNTS) > 1:
        wrong.append("Only one of k, max_distance, or min_score can be provided")
    if "query_tokens" in read:
        wrong.append(
            "Target field is a KNN field using a dense model. query_tokens is not supported since it is for the "
            "sparse model."
        )
    if wrong:
        raise InvalidRequest(f"Invalid neural query: {'; '.join(wrong)}")
    if read.get("query_image"):
        raise InvalidRequest("[neural] query with [query_image] is not served by this bridge yet")
    if "semantic_field_search_analyzer" in read:
        raise InvalidRequest("[neural] query with [semantic_field_search_analyzer] is not served by this bridge yet")
