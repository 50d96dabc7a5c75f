"""Built-in functions before and after a call: texts to parameters, answers to tensors.

Sources: contract remote-agents.md 2.7. Painless scripts are not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bridge.connectors.answer_json import read_text
from bridge.connectors.answer_path import found_at
from bridge.connectors.answer_words import failed, java_class
from bridge.domain.tensor import LocalInput, ModelTensor, TextDocsInput, TextSimilarityInput
from bridge.errors import EngineError, InvalidRequest

_PRE = "connector.pre_process."
_POST = "connector.post_process."
_TEXTS_ONLY = (
    "This pre_process_function can only support TextDocsInputDataSet which including a list of string with key"
    " 'text_docs'"
)
_NO_FLOATS = "The embedding should be a non-empty List containing Float values."
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


Answer = Callable[[list[Any], str], tuple[ModelTensor, ...]]


def _vectors(found: list[Any], data_type: str) -> tuple[ModelTensor, ...]:
    if not all(isinstance(vector, list) for vector in found):
        raise InvalidRequest("The embedding should be a non-empty List containing List of Float values.")
    if not all(vector and _is_number(vector[0]) for vector in found):
        raise InvalidRequest(_NO_FLOATS)
    return tuple(_tensor("sentence_embedding", vector, data_type) for vector in found)


def _vector(found: list[Any], data_type: str) -> tuple[ModelTensor, ...]:
    if found and not _is_number(found[0]):
        raise InvalidRequest(_NO_FLOATS)
    return (_tensor("sentence_embedding", found, data_type),)


def _scores(found: list[Any], data_type: str) -> tuple[ModelTensor, ...]:
    if found and not isinstance(found[0], dict):
        raise InvalidRequest("Post process function input is not a List of Map.")
    lacks_index = any(isinstance(result, dict) and result.get("index") is None for result in found)
    if lacks_index or (found and "relevance_score" not in found[0]):
        raise InvalidRequest("The rerank result should contain index and relevance_score.")
    return _ranked(found, "relevance_score", data_type)


def _bedrock_scores(found: list[Any], data_type: str) -> tuple[ModelTensor, ...]:
    if not found:
        raise InvalidRequest("Post process function input is empty.")
    for result in found:
        if not isinstance(result, dict):
            raise InvalidRequest("Rerank result is not a Map.")
        if not {"index", "relevanceScore"} <= result.keys():
            raise InvalidRequest("Rerank result should have both index and relevanceScore.")
        if not _is_number(result["relevanceScore"]):
            raise InvalidRequest("relevanceScore is not BigDecimal or Double.")
    return _ranked(found, "relevanceScore", data_type)


def _ranked(found: list[Any], key: str, data_type: str) -> tuple[ModelTensor, ...]:
    """The scores in the order of the documents, by `index`. Raises EngineError for values of other types
    and documents that have no score beside them."""
    for result in found:
        if not isinstance(result, dict):
            raise _not_cast(result, "java.util.Map")
        if not isinstance(result.get("index"), int) or isinstance(result["index"], bool):
            raise _not_cast(result.get("index"), "java.lang.Integer")
        if result.get(key) is not None and not _is_number(result[key]):
            raise _not_cast(result[key], "java.lang.Double")
        if not 0 <= result["index"] < len(found):
            reason = f"Index {result['index']} out of bounds for length {len(found)}"
            raise failed("array_index_out_of_bounds_exception", reason)
    ordered = sorted(found, key=lambda result: int(result["index"]))
    return tuple(_tensor("similarity", [result.get(key)], data_type) for result in ordered)


def _not_cast(value: Any, wanted: str) -> EngineError:
    given = java_class(value)
    where = f"({given} and {wanted} are in module java.base of loader 'bootstrap')"
    return failed("class_cast_exception", f"class {given} cannot be cast to class {wanted} {where}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tensor(name: str, numbers: list[Any], data_type: str) -> ModelTensor:
    # As the service printed them: narrowing to 32 bits is for whoever computes with them. null becomes NaN, printed so.
    kinds = set(map(type, numbers))
    if not kinds <= {int, float, type(None)}:
        raise failed(
            "array_store_exception",
            "arraycopy: element type mismatch: can not cast one of the elements of java.lang.Object[] to the type of"
            " the destination array, java.lang.Number",
        )
    whole = data_type != "FLOAT32" and kinds == {int}
    try:
        data = np.asarray(numbers, dtype=np.int64 if whole else np.float64)
    except OverflowError:
        raise InvalidRequest(f"{name} holds numbers beyond those of {data_type}") from None
    return ModelTensor(name=name, data_type=data_type, shape=data.shape, data=data)


AFTER: dict[str, tuple[str, Answer, str]] = {
    _POST + "openai.embedding": ("$.data[*].embedding", _vectors, "FLOAT32"),
    _POST + "cohere.embedding": ("$.embeddings", _vectors, "FLOAT32"),
    _POST + "default.embedding": ("$[*]", _vectors, "FLOAT32"),
    _POST + "bedrock.embedding": ("$.embedding", _vector, "FLOAT32"),
    _POST + "bedrock_v2.embedding.float": ("$.embeddingsByType.float", _vector, "FLOAT32"),
    _POST + "bedrock_v2.embedding.binary": ("$.embeddingsByType.binary", _vector, "BINARY"),
    _POST + "bedrock.nova.embedding": ("$.embeddings[*].embedding", _vectors, "FLOAT32"),
    _POST + "cohere.rerank": ("$.results", _scores, "FLOAT32"),
    _POST + "default.rerank": ("$[*]", _scores, "FLOAT32"),
    _POST + "bedrock.rerank": ("$.results", _bedrock_scores, "FLOAT32"),
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

    Raises as ML Commons words it: InvalidRequest for what a function does not take, a scalar and a bad path,
    EngineError for a path that leads nowhere and for values of another type within a list.
    """
    if name is None:
        if not isinstance(answer, (dict, list)):
            raise InvalidRequest("Unsupported response type")
        found = answer if path is None else read_text(found_at(answer, path))
        return (ModelTensor(name="response", data_as_map=found if isinstance(found, dict) else {"response": found}),)
    if name not in AFTER:
        raise InvalidRequest(_unknown("post_process_function", name))
    own_path, tensors, data_type = AFTER[name]
    found = found_at(answer, path or own_path)
    if found is None:
        raise InvalidRequest("Can't run post process function as model output is null")
    if not isinstance(found, list):
        raise InvalidRequest("Post process function input is not a List.")
    return tensors(found, data_type)


def is_script(name: str | None) -> bool:
    """Whether a stored function is something else than a name that this bridge knows."""
    known: Mapping[str, Any] = {**BEFORE_TEXTS, **BEFORE_PAIRS, **AFTER}
    return name is not None and name not in known
