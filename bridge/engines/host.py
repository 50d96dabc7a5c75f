"""The models that one inference process holds, and the calls on them. Blocking; used by `process`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.domain.names import FunctionName, ModelFormat
from bridge.domain.tensor import LocalInput, TextDocsInput
from bridge.engines import devices, frames, local_model, memory, onnx, torchscript
from bridge.engines.admission import OFF, Admission
from bridge.engines.batching import Batcher, Job, Limits
from bridge.engines.crew import Crew
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.local_model import LocalModel
from bridge.engines.session import ModelSpec

GPU_LIMITS = Limits(token_budget=16_384, max_texts=256, split=False)
GPU_SPARSE_LIMITS = Limits(token_budget=2_048, max_texts=64, split=False)
"""Each token of a sparse encoder has logits as wide as the vocabulary: 125 kB."""


@dataclass(frozen=True)
class Deployed:
    """One loaded model; `memory_bytes` is measured or estimated, `seconds` what loading took."""

    model: LocalModel
    batcher: Batcher[Any]
    memory_bytes: int
    seconds: float

    def answer(self, input: LocalInput, job: Job[Any]) -> Sequence[frames.Row]:
        """The rows of a call that has ended well, one per text. Raises EngineFault."""
        return self.model.answer(input, [row for row in job.rows if row is not None])

    def close(self) -> None:
        """Fail what waits, finish what runs, free the model."""
        self.batcher.close()
        self.model.close()

    def facts(self) -> dict[str, Any]:
        """What the application shows and stores about it."""
        spec = self.model.spec
        return {
            "device": str(self.model.device),
            "dimension": self.model.dimension,
            "expected_dimension": spec.embedding_dimension,
            "memory_bytes": self.memory_bytes,
            "load_seconds": round(self.seconds, 4),
            "waiting_texts": self.batcher.waiting,
            "texts": self.batcher.texts_done,
            "batches": self.batcher.batches_done,
            "failures": self.batcher.failures,
        }


class Host:
    """Loads, unloads and runs models; safe to call from several threads."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        workers: int | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission or Admission()
        self._limits = limits or Limits()
        self._workers = workers or devices.cores()
        self._crews: dict[str, Crew] = {}
        self._models: dict[str, Deployed] = {}
        self._lock = threading.Lock()

    def load(
        self,
        model_id: str,
        folder: Path,
        spec: ModelSpec,
        *,
        device: str | None = None,
        allow_torchscript: bool = False,
        native_memory_threshold: int = OFF,
    ) -> dict[str, Any]:
        """Load and warm up a model, in place of one with this id if there is one; its facts.

        `native_memory_threshold` is in percent of all memory, 100 meaning that nothing is refused for want of it.
        Raises EngineFault(LOAD_FAILED or UNSUPPORTED); a model that is there already stays then.
        """
        before = time.perf_counter()
        chosen = choose_device(spec, device)
        need = self._admission.check(
            model_id, folder, spec.model_format, chosen, threshold=native_memory_threshold, loaded=self._sizes()
        )
        reading = self._admission.before()
        model = local_model.load(folder, device=chosen, spec=spec, allow_torchscript=allow_torchscript)
        taken = self._admission.after(folder, chosen, need, reading)
        batcher = Batcher(model, self._crew(chosen), model_id=model_id, limits=self._limits_for(spec, chosen))
        deployed = Deployed(model, batcher, taken, time.perf_counter() - before)
        with self._lock:
            replaced = self._models.get(model_id)
            self._models[model_id] = deployed
        if replaced is not None:
            replaced.close()
        memory.give_back()
        return deployed.facts()

    def unload(self, model_id: str) -> bool:
        """Free a model; False when it is not here."""
        with self._lock:
            found = self._models.pop(model_id, None)
        if found is not None:
            found.close()
            memory.give_back()
        return found is not None

    def submit(
        self,
        model_id: str,
        input: LocalInput,
        done: Callable[[Deployed, Job[Any]], None],
        *,
        timeout: float | None = None,
    ) -> tuple[Deployed, Job[Any]]:
        """Queue a call; `done` gets the job later. Raises EngineFault(NOT_LOADED, BAD_INPUT or QUEUE_FULL)."""
        deployed = self._models.get(model_id)
        if deployed is None:
            raise EngineFault(FaultCode.NOT_LOADED, f"model {model_id} is not loaded here")
        deadline = None if timeout is None else time.monotonic() + timeout
        job: Job[Any] = Job(
            texts=deployed.model.texts(input),
            done=lambda job: done(deployed, job),
            kind=input.kind if isinstance(input, TextDocsInput) else None,
            deadline=deadline,
        )
        deployed.batcher.submit(job)
        return deployed, job

    def stats(self) -> dict[str, Any]:
        """Figures of this process and of each model; memory in bytes."""
        with self._lock:
            models = dict(self._models)
        return {
            "rss_bytes": memory.rss(),
            "workers": {name: crew.size for name, crew in self._crews.items()},
            "models": {model_id: deployed.facts() for model_id, deployed in models.items()},
        }

    def finish(self) -> None:
        """Wait until no call is queued or running."""
        for deployed in list(self._models.values()):
            deployed.batcher.finish()

    def close(self) -> None:
        """Unload everything and end the threads."""
        for model_id in list(self._models):
            self.unload(model_id)
        for crew in self._crews.values():
            crew.stop()

    def _sizes(self) -> dict[str, int]:
        with self._lock:
            return {model_id: deployed.memory_bytes for model_id, deployed in self._models.items()}

    def _limits_for(self, spec: ModelSpec, device: Device) -> Limits:
        if device.kind == "cpu":
            return self._limits
        return GPU_SPARSE_LIMITS if spec.function_name is FunctionName.SPARSE_ENCODING else GPU_LIMITS

    def _crew(self, device: Device) -> Crew:
        with self._lock:
            name = str(device)
            if name not in self._crews:
                # Two threads a GPU: one prepares a batch while the other's runs.
                self._crews[name] = Crew(self._workers if device.kind == "cpu" else 2, name=name)
            return self._crews[name]


def choose_device(spec: ModelSpec, requested: str | None) -> Device:
    """The device for a model of this format. Raises EngineFault(LOAD_FAILED) for a name that is no device."""
    works = onnx.cuda_works() if spec.model_format is ModelFormat.ONNX else bool(torchscript.cuda_works())
    try:
        return devices.choose(requested, cuda_works=works)
    except ValueError as error:
        raise EngineFault(FaultCode.LOAD_FAILED, str(error)) from None


def explain_devices() -> list[Mapping[str, str]]:
    """Lines for `bridge doctor`: {"level", "text"}; imports the engines, which takes a second."""
    lines = devices.explain(onnx_providers=onnx.providers(), torch_cuda=torchscript.cuda_works())
    return [{"level": line.level, "text": line.text} for line in lines]
