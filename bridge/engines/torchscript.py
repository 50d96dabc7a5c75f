"""TorchScript files by torch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bridge.domain.names import FrameworkType, FunctionName
from bridge.engines import devices
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode, without_folders
from bridge.engines.session import Inputs, ModelSpec, Output, model_file


def cuda_works() -> bool | None:
    """Whether torch can use a GPU; None when torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return bool(torch.cuda.is_available())


@contextlib.contextmanager
def run_threads(torch: Any, lone: bool) -> Iterator[None]:
    """One thread for a run, as each of the crew's has a core; several for a run that has the machine to itself."""
    if lone:
        torch.set_num_threads(min(devices.cores(), 4))
    try:
        yield
    finally:
        if lone:
            torch.set_num_threads(1)


def java_map_order(names: Sequence[str]) -> list[str]:
    """Names in the order of a Java hash map of that size: the order in which the reference answers a dict's outputs.

    String.hashCode, its upper half mixed in, modulo a power of two above the size; equal buckets keep their order.
    """
    buckets = 16
    while len(names) * 4 > buckets * 3:
        buckets *= 2
    return sorted(names, key=lambda name: _java_hash(name) & (buckets - 1))


def _java_hash(name: str) -> int:
    value = 0
    for unit in name:
        value = (31 * value + ord(unit)) & 0xFFFFFFFF
    return value ^ (value >> 16)


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return without_folders(lines[-1] if "Traceback" in str(error) else " ".join(lines[:3]))


class TorchScriptEngine:
    """Loads the one `.pt` file of a folder; never anything pickled outside a TorchScript archive."""

    def load(self, folder: Path, *, device: Device, spec: ModelSpec) -> TorchScriptSession:
        """Open the model on `device`. Raises EngineFault(LOAD_FAILED or UNSUPPORTED)."""
        path = model_file(folder, ".pt")
        try:
            import torch
        except ImportError:
            raise EngineFault(
                FaultCode.UNSUPPORTED, "TorchScript models need torch, which is not installed (extra [torch])"
            ) from None
        # One thread a run and a run a core: the batcher's workers keep the cores busy.
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated as a whole; ML Commons is not
                module = torch.jit.load(str(path), map_location=str(device)).eval()
        except Exception as error:  # torch raises RuntimeError, but what a hostile file provokes is open
            raise EngineFault(FaultCode.LOAD_FAILED, _reason(error)) from None
        return TorchScriptSession(module, device, takes_dict=_takes_dict(module, spec))


def _takes_dict(module: Any, spec: ModelSpec) -> bool:
    """Embedding models by their framework, as the reference; of other functions what the module itself declares."""
    if spec.function_name is FunctionName.TEXT_EMBEDDING:
        return spec.framework_type is FrameworkType.SENTENCE_TRANSFORMERS
    try:
        arguments = list(module.forward.schema.arguments)
    except (AttributeError, RuntimeError):
        return False
    return len(arguments) > 1 and "Dict" in str(arguments[1].type)


class TorchScriptSession:
    """One module. A sentence-transformers one takes a dict and answers one; others take tensors by position."""

    def __init__(self, module: Any, device: Device, *, takes_dict: bool) -> None:
        self._module, self._device, self._takes_dict = module, device, takes_dict
        self._count = self._inputs_of(module)

    def run(self, inputs: Inputs, *, lone: bool = False) -> list[Output]:
        """Run one batch; outputs of a dict keep their names, others have none. Raises EngineFault(RUN_FAILED)."""
        import torch

        with run_threads(torch, lone), torch.inference_mode():
            try:
                return _outputs(self._call(torch, inputs))
            except Exception as error:  # anything the model's own code raises
                raise EngineFault(FaultCode.RUN_FAILED, _reason(error)) from None

    def close(self) -> None:
        """Free the weights."""
        self._module = None

    def _call(self, torch: Any, inputs: Inputs) -> Any:
        arrays = (inputs.input_ids, inputs.attention_mask, inputs.token_type_ids)
        tensors = [torch.from_numpy(array).to(str(self._device)) for array in arrays]
        if self._takes_dict:
            return self._module({"input_ids": tensors[0], "attention_mask": tensors[1]})
        return self._module(*tensors[: self._count])

    @staticmethod
    def _inputs_of(module: Any) -> int:
        """How many tensors the module takes besides itself, at most the three there are."""
        try:
            return max(1, min(3, len(module.forward.schema.arguments) - 1))
        except (AttributeError, RuntimeError):
            return 2


def _outputs(answer: Any) -> list[Output]:
    if isinstance(answer, dict):
        return [Output(name, answer[name].cpu().numpy()) for name in java_map_order(list(answer))]
    answers = answer if isinstance(answer, (tuple, list)) else [answer]
    return [Output(None, tensor.cpu().numpy()) for tensor in answers]
