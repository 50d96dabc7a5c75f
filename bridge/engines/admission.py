"""Whether a model may be loaded: what it needs, what there is, and what `native_memory_threshold` leaves.

A model refused is better than one that has the kernel kill the process with all the others.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.domain.names import ModelFormat
from bridge.engines import memory
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.memory import Memory

FACTOR = 1.5
"""Memory over the size of the files, where nothing was measured: 1.1 to 1.4 after loading and a few runs of long texts
with float32 graphs. It is also what ML Commons reports as memory_size_estimation."""
MARGIN = 64 << 20
"""Bytes on top, for what one batch takes while it runs."""
LIBRARIES = {ModelFormat.TORCH_SCRIPT: 280 << 20, ModelFormat.SAFETENSORS: 400 << 20}
"""Bytes that torch, and transformers with it, take when the first such model makes them be imported (measured)."""
OFF = 100
"""The threshold that switches admission off."""
_NAMED = 3
_REMEMBERED = 1000


@dataclass(frozen=True)
class Need:
    """What loading takes: `size` for the model, `once` for libraries that stay."""

    size: int
    once: int = 0
    measured: bool = False

    @property
    def total(self) -> int:
        """Bytes that must be there."""
        return self.size + self.once + MARGIN


def estimate(size: int, *, factor: float = FACTOR) -> int:
    """Bytes a model whose files have `size` bytes will need once loaded."""
    return int(size * factor)


def allowance(have: Memory, threshold: int) -> int:
    """Bytes that may still be taken before more than `threshold` percent of the whole are in use."""
    return have.available - have.total * (100 - threshold) // 100


def shortage(model_id: str, need: Need, have: Memory, threshold: int, loaded: Mapping[str, int]) -> str | None:
    """Why the model must not be loaded now, with figures and the largest of `loaded`; None when there is room."""
    if threshold >= OFF or need.total <= allowance(have, threshold):
        return None
    how = "as measured before" if need.measured else "estimated"
    largest = sorted(loaded.items(), key=lambda entry: -entry[1])[:_NAMED]
    named = ", ".join(f"{other} ({size >> 20} MiB)" for other, size in largest) or "none"
    return (
        f"not enough memory for model {model_id}: it needs {need.total >> 20} MiB ({how}), "
        f"{have.available >> 20} MiB of {have.total >> 20} MiB are available on {have.place}, "
        f"and native_memory_threshold {threshold} % leaves {max(0, allowance(have, threshold)) >> 20} MiB of them; "
        f"largest loaded models: {named}"
    )


class Admission:
    """Decides on loads in one process, and remembers what the models took, by their folders."""

    def __init__(
        self,
        *,
        read: Callable[[], Sequence[Memory]] = memory.limits,
        read_gpu: Callable[[int], Memory | None] = memory.gpu,
        rss: Callable[[], int] = memory.rss,
    ) -> None:
        self._read, self._read_gpu, self._rss = read, read_gpu, rss
        self._measured: OrderedDict[str, int] = OrderedDict()

    def check(
        self,
        model_id: str,
        folder: Path,
        model_format: ModelFormat,
        device: Device,
        *,
        threshold: int,
        loaded: Mapping[str, int],
    ) -> Need:
        """What the model needs. Raises EngineFault(LOAD_FAILED) when that is not there."""
        known = self._measured.get(str(folder))
        size = estimate(memory.folder_size(folder)) if known is None else known
        once = 0 if "torch" in sys.modules else LIBRARIES.get(model_format, 0)
        need = Need(size, once, known is not None)
        bounds = list(self._read())
        if device.kind != "cpu":
            bounds += [have for have in (self._read_gpu(device.index),) if have is not None]
        for have in bounds:
            reason = shortage(model_id, need, have, threshold, loaded)
            if reason is not None:
                raise EngineFault(FaultCode.LOAD_FAILED, reason)
        return need

    def before(self) -> int:
        """A reading to give to `after`."""
        memory.give_back()
        return self._rss()

    def after(self, folder: Path, device: Device, need: Need, before: int) -> int:
        """Bytes that the model takes: measured where that says something, else as estimated.

        Not measured on a GPU, nor when libraries were loaded with it. Memory that was free inside the process hides
        growth, so the size of the files is the least.
        """
        memory.give_back()
        grown = self._rss() - before
        if device.kind != "cpu" or need.once or grown <= 0:
            return need.size
        taken = max(grown, memory.folder_size(folder))
        self._measured[str(folder)] = taken
        while len(self._measured) > _REMEMBERED:
            self._measured.popitem(last=False)
        return taken
