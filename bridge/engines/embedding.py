"""A text embedding model as a whole: tokenizer, session, pooling; shapes and names as ML Commons answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.domain.tensor import LocalInput, TextDocsInput
from bridge.engines import safetensors
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode, without_folders
from bridge.engines.formats import open_session
from bridge.engines.onnx import OnnxSession
from bridge.engines.pooling import Floats, normalized, pool
from bridge.engines.session import Array, Encoded, Inputs, ModelSpec, Output, Said, Session, Text
from bridge.engines.targets import Targets
from bridge.engines.tokenizer import TextTokenizer

SENTENCE_EMBEDDING = "sentence_embedding"
WARM_UP = "warm up sentence"


Row = tuple[Output, ...]
"""The tensors of one text, without the batch axis."""


class Finish(Protocol):
    """Turns a batch's raw outputs into one row per text."""

    def __call__(self, outputs: Sequence[Output], inputs: Inputs) -> list[Row]: ...


@dataclass(frozen=True)
class EmbeddingModel:
    """Tokenises, runs and finishes batches; safe to use from several threads."""

    spec: ModelSpec
    device: Device
    tokenizer: TextTokenizer
    session: Session
    finish: Finish
    dimension: int
    with_bytes: bool

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """What to tokenise. Raises EngineFault(BAD_INPUT)."""
        return docs_of(input).text_docs

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> list[Encoded]:
        """Token ids of each text, with the prefix of this kind of call put before it."""
        prefix = self.spec.prefix(kind)
        return self.tokenizer.encode([f"{prefix}{text}" for text in texts])

    def run(self, texts: Sequence[Encoded], *, lone: bool = False) -> list[Row]:
        """One row per text, in order. Raises EngineFault(RUN_FAILED)."""
        inputs = Inputs.padded(texts, self.tokenizer.pad_id)
        return self.finish(self.session.run(inputs, lone=lone), inputs)

    def answer(self, input: LocalInput, rows: Sequence[Row]) -> list[Sequence[Output | Said | None]]:
        """The rows as the caller wants them."""
        asked = docs_of(input)
        targets = Targets.of(asked)
        if self.with_bytes and asked.return_bytes:
            rows = [tuple(replace(output, with_bytes=True) for output in row) for row in rows]
        return [targets.apply(row) for row in rows]

    def close(self) -> None:
        """Free the model; no run may be in progress."""
        self.session.close()


def docs_of(input: LocalInput) -> TextDocsInput:
    """The input of a function that takes texts. Raises EngineFault(BAD_INPUT) for another function's."""
    if not isinstance(input, TextDocsInput):
        raise EngineFault(FaultCode.BAD_INPUT, "This model takes text_docs.")
    return input


def load(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool = True) -> EmbeddingModel:
    """Load the model in `folder` and run a warm-up sentence through it.

    Raises EngineFault(LOAD_FAILED or UNSUPPORTED); file problems carry the reference's texts.
    """
    if spec.function_name is not FunctionName.TEXT_EMBEDDING:
        raise EngineFault(FaultCode.UNSUPPORTED, f"local models of function {spec.function_name} are not supported")
    try:
        spec = _complete(folder, spec)
        tokenizer = TextTokenizer(folder)
        session = open_session(folder, device=device, spec=spec, allow_torchscript=allow_torchscript)
    except (OSError, ValueError) as error:
        raise EngineFault(FaultCode.LOAD_FAILED, without_folders(str(error))) from None
    try:
        return _warmed(spec, device, tokenizer, session)
    except EngineFault as fault:
        session.close()
        raise EngineFault(FaultCode.LOAD_FAILED, fault.reason) from None


def _complete(folder: Path, spec: ModelSpec) -> ModelSpec:
    if spec.model_format is ModelFormat.SAFETENSORS:
        return safetensors.completed(folder, spec)
    return replace(spec, pooling_mode=spec.pooling_mode or PoolingMode.MEAN)


def _warmed(spec: ModelSpec, device: Device, tokenizer: TextTokenizer, session: Session) -> EmbeddingModel:
    """Run one sentence: outputs' shapes and the dimension come from its result, not from what is declared."""
    inputs = Inputs.padded(tokenizer.encode([WARM_UP]), tokenizer.pad_id)
    outputs = session.run(inputs)
    if isinstance(session, OnnxSession):
        chosen, finish = _onnx_finish(outputs, spec)
        session.want([str(chosen.name)])
        outputs = [chosen]
    elif spec.model_format is ModelFormat.SAFETENSORS:
        finish = _folder_finish(spec)
    else:
        finish = _script_finish(spec)
    row = finish(outputs, inputs)[0]
    vector = next((output for output in row if output.name == SENTENCE_EMBEDDING), row[-1] if row else None)
    dimension = int(vector.array.shape[-1]) if vector is not None and vector.array.ndim else 0
    with_bytes = spec.model_format is ModelFormat.TORCH_SCRIPT and _is_sentence_transformers(spec)
    return EmbeddingModel(spec, device, tokenizer, session, finish, dimension, with_bytes)


def _is_sentence_transformers(spec: ModelSpec) -> bool:
    return spec.framework_type is FrameworkType.SENTENCE_TRANSFORMERS


def _onnx_finish(outputs: Sequence[Output], spec: ModelSpec) -> tuple[Output, Finish]:
    """The one output of the graph that is needed, chosen by the shapes of a real run, and how it becomes vectors.

    As the reference: the first output is pooled; pooling NONE takes the second where there is one. Beyond it, a graph
    whose first output is no token vectors may have a ready `sentence_embedding`, or token vectors further on.
    """
    if spec.pooling_mode is PoolingMode.NONE:
        chosen = outputs[min(1, len(outputs) - 1)]
        return chosen, lambda outputs, inputs: _rows(_flat(outputs[0].array), spec, leading=True)
    if outputs[0].array.ndim != 3:
        ready = [output for output in outputs if output.array.ndim == 2]
        named = [output for output in ready if output.name == SENTENCE_EMBEDDING]
        if named or (ready and all(output.array.ndim != 3 for output in outputs)):
            return (named or ready)[0], lambda outputs, inputs: _rows(_flat(outputs[0].array), spec, leading=False)
    hidden = next((output for output in outputs if output.array.ndim == 3), outputs[0])
    leading = spec.pooling_mode is PoolingMode.MAX
    return hidden, lambda outputs, inputs: _pooled(outputs[0], inputs, spec, leading=leading)


def _script_finish(spec: ModelSpec) -> Finish:
    if _is_sentence_transformers(spec):
        return _dict_rows
    if spec.pooling_mode is PoolingMode.NONE:
        return lambda outputs, inputs: _unpooled(outputs[0], inputs)
    return lambda outputs, inputs: _pooled(outputs[0], inputs, spec, leading=True)


def _folder_finish(spec: ModelSpec) -> Finish:
    if spec.pooling_mode is PoolingMode.NONE:
        return lambda outputs, inputs: _unpooled(outputs[0], inputs)
    return lambda outputs, inputs: _pooled(outputs[0], inputs, spec, leading=False)


def _pooled(hidden: Output, inputs: Inputs, spec: ModelSpec, *, leading: bool) -> list[Row]:
    array = np.asarray(hidden.array, dtype=np.float32)
    if array.ndim == 2:
        return _rows(array, spec, leading=leading)
    if array.ndim != 3 or array.shape[:2] != inputs.input_ids.shape:
        raise EngineFault(
            FaultCode.RUN_FAILED,
            f"output [{hidden.name}] has shape {list(array.shape)}; expected [texts, tokens, dimension]",
        )
    return _rows(pool(spec.pooling_mode or PoolingMode.MEAN, array, inputs.attention_mask), spec, leading=leading)


def _flat(array: Array) -> Floats:
    return np.asarray(array, dtype=np.float32).reshape(array.shape[0], -1)


def _rows(vectors: Floats, spec: ModelSpec, *, leading: bool) -> list[Row]:
    """One vector per text; `leading` gives it the shape [1, dimension] which the reference answers there."""
    ready = normalized(vectors) if spec.normalize_result else vectors
    return [(Output(SENTENCE_EMBEDDING, row[None, :] if leading else row),) for row in ready]


def _unpooled(hidden: Output, inputs: Inputs) -> list[Row]:
    """All token vectors of each text in one line, [1, tokens * dimension], as the reference answers pooling none."""
    counts = inputs.attention_mask.sum(1)
    array = np.asarray(hidden.array, dtype=np.float32)
    return [(Output(SENTENCE_EMBEDDING, array[n, : int(counts[n])].reshape(1, -1)),) for n in range(len(counts))]


def _dict_rows(outputs: Sequence[Output], inputs: Inputs) -> list[Row]:
    """Every output of a sentence-transformers module, cut to the text's own tokens where it has a token axis."""
    counts = inputs.attention_mask.sum(1)
    width = inputs.input_ids.shape[1]
    rows = []
    for n, count in enumerate(counts):
        row = []
        for output in outputs:
            array = output.array[n]
            per_token = output.name != SENTENCE_EMBEDDING and array.ndim >= 1 and array.shape[0] == width
            row.append(Output(output.name, array[: int(count)] if per_token else array))
        rows.append(tuple(row))
    return rows
