"""The seam between what a model computes and the library that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode

Array = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the model's document says about how to run it.

    `pooling_mode` None is MEAN and `normalize_result` None is no, as in ML Commons, or what a SAFETENSORS folder says.
    Prefixes are put before the text as they are, no space added.
    """

    function_name: FunctionName = FunctionName.TEXT_EMBEDDING
    model_format: ModelFormat = ModelFormat.ONNX
    model_type: str | None = None
    framework_type: FrameworkType = FrameworkType.SENTENCE_TRANSFORMERS
    embedding_dimension: int | None = None
    pooling_mode: PoolingMode | None = None
    normalize_result: bool | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None

    def prefix(self, kind: str | None) -> str:
        """The text put before each text of a call of this kind ("query", "passage" or None)."""
        chosen = {"query": self.query_prefix, "passage": self.passage_prefix}.get(kind or "")
        return chosen or ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON object that `from_dict` reads back."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ModelSpec:
        """Read `to_dict`'s object or a `model_config` with its function and format; unknown keys are ignored.

        Raises ValueError when an enum's value is unknown.
        """
        known = {name: value[name] for name in cls.__dataclass_fields__ if value.get(name) is not None}
        for name, kind in _ENUMS.items():
            if name in known:
                known[name] = kind(str(known[name]).upper())
        return cls(**known)


_ENUMS = {
    "function_name": FunctionName,
    "model_format": ModelFormat,
    "framework_type": FrameworkType,
    "pooling_mode": PoolingMode,
}


@dataclass(frozen=True)
class Encoded:
    """One tokenised text: ids and token types of the same length, without padding."""

    ids: Sequence[int]
    type_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Inputs:
    """One padded batch; all three arrays are int64 of shape [texts, longest]; the mask is 1 on real tokens."""

    input_ids: Ints
    attention_mask: Ints
    token_type_ids: Ints

    @classmethod
    def padded(cls, texts: Sequence[Encoded], pad_id: int) -> Inputs:
        """Stack texts of any lengths, padding on the right with `pad_id`; width is at least 1."""
        width = max(1, max((len(text) for text in texts), default=1))
        ids = np.full((len(texts), width), pad_id, dtype=np.int64)
        mask = np.zeros((len(texts), width), dtype=np.int64)
        types = np.zeros((len(texts), width), dtype=np.int64)
        for row, text in enumerate(texts):
            size = len(text)
            ids[row, :size] = text.ids
            types[row, :size] = text.type_ids
            mask[row, :size] = 1
        return cls(ids, mask, types)


@dataclass(frozen=True)
class Output:
    """One named output array: of a run (the first axis is the batch), or of one text.

    `with_bytes` says that the answer gives its raw bytes beside the numbers. A TorchScript module's outputs have names
    only when it answers a dict.
    """

    name: str | None
    array: Array
    with_bytes: bool = False


@dataclass(frozen=True)
class Said:
    """An output of one text that is no array: a text, or a JSON object."""

    name: str | None = None
    result: str | None = None
    data_as_map: dict[str, Any] | None = None


Text: TypeAlias = str | tuple[str, str]
"""What is tokenised together: a text, or a pair of texts."""


def wanted_output(outputs: Sequence[Output], name: str, place: int = 0) -> Output:
    """The output of this name, else the one at `place`. Raises EngineFault(RUN_FAILED) when there is neither."""
    named = next((output for output in outputs if output.name == name), None)
    if named is None and place >= len(outputs):
        raise EngineFault(FaultCode.RUN_FAILED, f"the model has no output [{name}]")
    return named or outputs[place]


class Session(Protocol):
    """A loaded model file. `run` may be called from several threads at once."""

    def run(self, inputs: Inputs, *, lone: bool = False) -> Sequence[Output]:
        """Run one batch; `lone` says that nothing else is running, so the run may use every core.

        Raises EngineFault(RUN_FAILED).
        """

    def close(self) -> None:
        """Free what the model holds; no run may be in progress."""


class Engine(Protocol):
    """A library that runs one model format."""

    def load(self, folder: Path, *, device: Device, spec: ModelSpec) -> Session:
        """Open the one model file in `folder` on `device`. Raises EngineFault(LOAD_FAILED or UNSUPPORTED)."""


def model_file(folder: Path, suffix: str) -> Path:
    """The one file with this suffix at the root of `folder`.

    Raises FileNotFoundError or ValueError; texts as ML Commons has them.
    """
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(suffix))
    if not found:
        raise FileNotFoundError("Can't find model file")
    if len(found) > 1:
        raise ValueError("Found multiple models. Expected 1")
    return found[0]
