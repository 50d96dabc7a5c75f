"""Model files to sessions, by the format that the model's document names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

from bridge.domain.names import ModelFormat
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.onnx import OnnxEngine
from bridge.engines.safetensors import SafetensorsEngine
from bridge.engines.session import ModelSpec, Session, Text
from bridge.engines.torchscript import TorchScriptEngine


class Runnable(Protocol):
    """The part of a LocalModel that running one text takes."""

    def encode(self, texts: list[Text]) -> Any: ...
    def run(self, texts: Any) -> Any: ...
    def close(self) -> None: ...


R = TypeVar("R", bound=Runnable)


def open_session(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool) -> Session:
    """Open the model in `folder`. Raises EngineFault(LOAD_FAILED or UNSUPPORTED), OSError, ValueError."""
    if spec.model_format is ModelFormat.ONNX:
        return OnnxEngine().load(folder, device=device, spec=spec)
    if spec.model_format is ModelFormat.SAFETENSORS:
        return SafetensorsEngine().load(folder, device=device, spec=spec)
    if not allow_torchscript:
        raise EngineFault(FaultCode.UNSUPPORTED, "TorchScript models are not allowed on this node")
    return TorchScriptEngine().load(folder, device=device, spec=spec)


def warmed(model: R, text: Text) -> R:
    """`model` after one run on `text`, closed where that fails. Raises EngineFault(RUN_FAILED)."""
    try:
        model.run(model.encode([text]))
    except EngineFault:
        model.close()
        raise
    return model
