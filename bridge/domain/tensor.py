"""What goes into a model and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelTensor:
    """One named output; `data` is a flat array of `prod(shape)` numbers, `byte_buffer` its raw little-endian bytes."""

    name: str | None = None
    data_type: str | None = None
    shape: tuple[int, ...] | None = None
    data: NDArray[Any] | None = None
    byte_buffer: bytes | None = None
    result: str | None = None
    data_as_map: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelTensors:
    """The outputs for one text (local models) or one call (remote models)."""

    output: tuple[ModelTensor, ...]
    status_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class MLOutput:
    """A predict answer; one entry per text for local models, in the order of the texts."""

    inference_results: tuple[ModelTensors, ...]


@dataclass(frozen=True, kw_only=True)
class TextDocsInput:
    """Input of the text functions.

    `kind` picks the model's prefix: "query", "passage" or None; `token_ids` asks sparse functions for ids in place of
    words (`sparse_embedding_format` TOKEN_ID of ML Commons). Filters as `model_result_filter` of ML Commons:
    empty means all; names and positions together give the union.
    """

    text_docs: tuple[str, ...]
    return_number: bool = True
    return_bytes: bool = False
    target_response: tuple[str, ...] = ()
    target_response_positions: tuple[int, ...] = ()
    kind: str | None = None
    token_ids: bool = False


@dataclass(frozen=True, kw_only=True)
class TextSimilarityInput:
    """Input of TEXT_SIMILARITY: each text is scored against the query; both are required by ML Commons."""

    query_text: str
    text_docs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringInput:
    """Input of QUESTION_ANSWERING: the answer is a piece of the context."""

    question: str
    context: str


@dataclass(frozen=True, kw_only=True)
class RemoteInput:
    """Input of a remote model: what the connector's templates are filled with; `action_type` None means `predict`.

    `templates` names parameters that the author of a pipeline wrote (`model_config`): `${parameters.x}` and
    `${parameters.x.toString()}` in them are filled. In any other value they are plain text.
    """

    parameters: dict[str, Any]
    action_type: str | None = None
    templates: frozenset[str] = frozenset()


LocalInput: TypeAlias = TextDocsInput | TextSimilarityInput | QuestionAnsweringInput
"""What a model on an ML node takes."""

MLInput: TypeAlias = LocalInput | RemoteInput
"""The union of predict inputs. A remote model takes every member, a local one only that of its function."""


def vectors(output: MLOutput, name: str = "sentence_embedding") -> list[NDArray[np.float32]]:
    """The tensor called `name` of each result, as flat float32 arrays.

    Raises KeyError when a result lacks it.
    """
    found = []
    for result in output.inference_results:
        tensor = next((t for t in result.output if t.name == name and t.data is not None), None)
        if tensor is None or tensor.data is None:
            raise KeyError(name)
        found.append(np.asarray(tensor.data, dtype=np.float32))
    return found
