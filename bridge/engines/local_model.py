"""What the host of an inference process needs of a model, whatever it computes; and which module serves a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bridge.domain.names import FunctionName
from bridge.domain.tensor import LocalInput
from bridge.engines import answering, embedding, similarity, sparse
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode, without_folders
from bridge.engines.session import Encoded, ModelSpec, Output, Said, Text


class LocalModel(Protocol):
    """A loaded model. `texts` and `answer` are called around a batcher's job, `encode` and `run` by its threads."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def device(self) -> Device: ...

    @property
    def dimension(self) -> int:
        """Length of an answered vector; 0 where answers are no vectors."""

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """What to tokenise for this call. Raises EngineFault(BAD_INPUT) for another function's input."""

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> Sequence[Encoded]:
        """Token ids of each text (a lone text may come in several windows)."""

    def run(self, texts: Sequence[Any], *, lone: bool = False) -> list[Any]:
        """One result for each encoded text. Raises EngineFault(RUN_FAILED)."""

    def answer(self, input: LocalInput, rows: Sequence[Any]) -> Sequence[Sequence[Output | Said | None]]:
        """The rows of the answer, out of the results of `run`; None where the caller's filter takes one away."""

    def close(self) -> None:
        """Free the model; no run may be in progress."""


Loader = Callable[..., LocalModel]

_LOADERS: dict[FunctionName, Loader] = {
    FunctionName.TEXT_EMBEDDING: embedding.load,
    FunctionName.SPARSE_ENCODING: sparse.load,
    FunctionName.SPARSE_TOKENIZE: sparse.load_tokenizer,
    FunctionName.TEXT_SIMILARITY: similarity.load,
    FunctionName.QUESTION_ANSWERING: answering.load,
}


def load(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool = True) -> LocalModel:
    """Load the model in `folder` and run something through it.

    Raises EngineFault(LOAD_FAILED or UNSUPPORTED); file problems carry the reference's texts.
    """
    loader = _LOADERS.get(spec.function_name)
    if loader is None:
        raise EngineFault(FaultCode.UNSUPPORTED, f"local models of function {spec.function_name} are not supported")
    try:
        return loader(folder, device=device, spec=spec, allow_torchscript=allow_torchscript)
    except (OSError, ValueError) as error:
        raise EngineFault(FaultCode.LOAD_FAILED, without_folders(str(error))) from None
    except EngineFault as fault:
        code = fault.code if fault.code is FaultCode.UNSUPPORTED else FaultCode.LOAD_FAILED
        raise EngineFault(code, fault.reason) from None
