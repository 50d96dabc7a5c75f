"""Built-in functions before and after a call: texts to parameters, answers to tensors.

Sources: contract remote-agents.md 2.7. Painless scripts are not run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext.parser import parse

from bridge.domain.tensor import LocalInput, ModelTensor, TextDocsInput, TextSimilarityInput
from bridge.errors import EngineError, InvalidRequest

_PRE = "connector.pre_process."
_POST = "connector.post_process."
_TEXTS_ONLY = (
    "This pre_process_function can only support TextDocsInputDataSet which including a list of string with key"
    " 'text_docs'"
)
_PAIRS_ONLY = "This pre_process_function can only support TextSimilarityInputDataSet"

Parameters = dict[str, Any]


def _texts(name: str) -> Callable[[TextDocsInput], Parameters]:
    return lambda asked: {name: list(asked.text_docs)}


def _first(name: str) -> Callable[[TextDocsInput], Parameters]:
    return lambda asked: {name: asked.text_docs[0]}


def _text_and_image(asked: TextDocsInput) -> Parameters:
    return dict(zip(("inputText", "inputImage"), asked.text_docs, strict=False))


def _cohere_rerank(asked: TextSimilarityInput) -> Parameters:
    return {"query": asked.query_text, "documents": list(asked.text_docs), "top_n": len(asked.text_docs)}


def _bedrock_rerank(asked: TextSimilarityInput) -> Parameters:
    sources = [
        {"inlineDocumentSource": {"textDocument": {"text": text}, "type": "TEXT"}, "type": "INLINE"}
        for text in asked.text_docs
    ]
    queries = [{"textQuery": {"text": asked.query_text}, "type": "TEXT"}]
    return {"queries": queries, "sources": sources, "numberOfResults": len(asked.text_docs)}


DEFAULT_EMBEDDING = _PRE + "default.embedding"
BEFORE_TEXTS: dict[str, Callable[[TextDocsInput], Parameters]] = {
    DEFAULT_EMBEDDING: _texts("input"),
    _PRE + "openai.embedding": _texts("input"),
    _PRE + "cohere.embedding": _texts("texts"),
    _PRE + "cohere.multimodal_embedding": _texts("images"),
    _PRE + "bedrock.embedding": _first("inputText"),
    _PRE + "bedrock.nova.text_embedding": _first("inputText"),
    _PRE + "bedrock.multimodal_embedding": _text_and_image,
    _PRE + "bedrock.nova.image_embedding": _first("inputImage"),
    _PRE + "bedrock.nova.video_embedding": _first("inputVideo"),
    _PRE + "bedrock.nova.audio_embedding": _first("inputAudio"),
}
BEFORE_PAIRS: dict[str, Callable[[TextSimilarityInput], Parameters]] = {
    _PRE + "default.rerank": _cohere_rerank,
    _PRE + "cohere.rerank": _cohere_rerank,
    _PRE + "bedrock.rerank": _bedrock_rerank,
}
ONE_TEXT_A_CALL = _PRE + "bedrock.embedding"
"""With this function every text is a call of its own."""


def before(name: str | None, asked: LocalInput) -> Parameters:
    """What the template is filled with. Raises InvalidRequest when the function does not take this input."""
    if name is None:
        if not isinstance(asked, TextDocsInput):
            raise InvalidRequest("pre_process_function not defined in connector")
        name = DEFAULT_EMBEDDING
    if name in BEFORE_TEXTS:
        if not isinstance(asked, TextDocsInput):
            raise InvalidRequest(_TEXTS_ONLY)
        return BEFORE_TEXTS[name](asked)
    if name in BEFORE_PAIRS:
        if not isinstance(asked, TextSimilarityInput):
            raise InvalidRequest(_PAIRS_ONLY)
        return BEFORE_PAIRS[name](asked)
    raise InvalidRequest(_unknown("pre_process_function", name))


Answer = Callable[[Any, str], tuple[ModelTensor, ...]]


def _vectors(found: Any, data_type: str) -> tuple[ModelTensor, ...]:
    return tuple(_tensor("sentence_embedding", vector, data_type) for vector in found)


def _vector(found: Any, data_type: str) -> tuple[ModelTensor, ...]:
    return (_tensor("sentence_embedding", found, data_type),)


def _scores(key: str) -> Answer:
    def scores(found: Any, data_type: str) -> tuple[ModelTensor, ...]:
        ordered = sorted(found, key=lambda result: int(result["index"]))
        return tuple(_tensor("similarity", [result[key]], data_type) for result in ordered)

    return scores


def _tensor(name: str, numbers: Any, data_type: str) -> ModelTensor:
    # As the service printed them: narrowing to 32 bits is for whoever computes with them.
    data = np.asarray(numbers, dtype=np.float64 if data_type == "FLOAT32" else np.int64)
    if data.ndim != 1:
        raise ValueError("not a list of numbers")
    return ModelTensor(name=name, data_type=data_type, shape=data.shape, data=data)


AFTER: dict[str, tuple[str, Answer, str]] = {
    _POST + "openai.embedding": ("$.data[*].embedding", _vectors, "FLOAT32"),
    _POST + "cohere.embedding": ("$.embeddings", _vectors, "FLOAT32"),
    _POST + "default.embedding": ("$[*]", _vectors, "FLOAT32"),
    _POST + "bedrock.embedding": ("$.embedding", _vector, "FLOAT32"),
    _POST + "bedrock_v2.embedding.float": ("$.embeddingsByType.float", _vector, "FLOAT32"),
    _POST + "bedrock_v2.embedding.binary": ("$.embeddingsByType.binary", _vector, "BINARY"),
    _POST + "bedrock.nova.embedding": ("$.embeddings[*].embedding", _vectors, "FLOAT32"),
    _POST + "cohere.rerank": ("$.results", _scores("relevance_score"), "FLOAT32"),
    _POST + "default.rerank": ("$[*]", _scores("relevance_score"), "FLOAT32"),
    _POST + "bedrock.rerank": ("$.results", _scores("relevanceScore"), "FLOAT32"),
    **{
        f"{_POST}cohere_v2.embedding.{kind}": (f"$.embeddings.{kind}", _vectors, data_type)
        for kind, data_type in (
            ("float", "FLOAT32"),
            ("int8", "INT8"),
            ("uint8", "UINT8"),
            ("binary", "BINARY"),
            ("ubinary", "UBINARY"),
        )
    },
}
"""Name: where in the answer, how it becomes tensors, their data type."""


def check_names(pre: str | None, post: str | None) -> None:
    """Raises InvalidRequest for a function that no bridge runs."""
    if pre is not None and pre not in BEFORE_TEXTS and pre not in BEFORE_PAIRS:
        raise InvalidRequest(_unknown("pre_process_function", pre))
    if post is not None and post not in AFTER:
        raise InvalidRequest(_unknown("post_process_function", post))


def _unknown(what: str, name: str) -> str:
    if name.startswith("connector."):
        return f"{what} {name} is not a built-in function of this bridge"
    return f"{what} must be the name of a built-in function: this bridge does not run painless scripts"


def after(name: str | None, answer: Any, path: str | None) -> tuple[ModelTensor, ...]:
    """The tensors of an answer; `path` (`response_filter`) beats the function's own.

    Raises EngineError as ML Commons words it when the answer is not shaped so, InvalidRequest for a bad path or a
    scalar.
    """
    if name is None:
        found = answer if path is None else found_at(answer, path)
        if path is None and not isinstance(found, (dict, list)):
            raise InvalidRequest("Unsupported response type")
        return (ModelTensor(name="response", data_as_map=found if isinstance(found, dict) else {"response": found}),)
    if name not in AFTER:
        raise InvalidRequest(_unknown("post_process_function", name))
    own_path, tensors, data_type = AFTER[name]
    found = found_at(answer, path or own_path)
    try:
        return tensors(found, data_type)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise _failed("illegal_argument_exception", f"{path or own_path} does not hold what {name} reads") from error


@functools.lru_cache(maxsize=256)
def _compiled(path: str) -> Any:
    if "=~" in path or "`" in path:
        # Regular expressions of a request could run for ever; the library's own functions are none of JSONPath.
        raise InvalidRequest(f"{path} is not a JSON path that this bridge runs")
    try:
        return parse(path)
    except (JSONPathError, ValueError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{path} is not a JSON path") from error


def found_at(answer: Any, path: str) -> Any:
    """What stands at a JSON path: one value for a definite path, else the list of what was found."""
    matches = [match.value for match in _compiled(path).find(answer)]
    if any(sign in path for sign in ("*", "..", "?", ",", ":")):
        return matches
    if not matches:
        raise _failed("path_not_found_exception", f"No results for path: {path}")
    return matches[0]


def _failed(kind: str, reason: str) -> EngineError:
    # "aws" stands there for http connectors, too.
    return EngineError(
        "Fail to execute PREDICT in aws connector", kind="m_l_exception", caused_by={"type": kind, "reason": reason}
    )


def is_script(name: str | None) -> bool:
    """Whether a stored function is something else than a name that this bridge knows."""
    known: Mapping[str, Any] = {**BEFORE_TEXTS, **BEFORE_PAIRS, **AFTER}
    return name is not None and name not in known
