"""ONNX graphs by onnxruntime; the only module that imports it."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bridge.engines import devices, memory
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode, without_folders
from bridge.engines.session import Array, Inputs, ModelSpec, Output, model_file

LONE_THREADS = 4
"""Most threads for a lone text: beyond a few, a short text gains nothing and wakes every core."""

_INPUT_MAKERS: dict[str, Callable[[Inputs], Array]] = {
    "input_ids": lambda inputs: inputs.input_ids,
    "attention_mask": lambda inputs: inputs.attention_mask,
    "token_type_ids": lambda inputs: inputs.token_type_ids,
    "position_ids": lambda inputs: np.broadcast_to(
        np.arange(inputs.input_ids.shape[1], dtype=np.int64), inputs.input_ids.shape
    ),
}
_ALIASES = {"segment_ids": "token_type_ids", "input_mask": "attention_mask"}
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}


def providers() -> list[str] | None:
    """The execution providers of the installed onnxruntime; None when it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return list(onnxruntime.get_available_providers())


def cuda_works() -> bool:
    """Whether onnxruntime has the CUDA provider and the machine a GPU."""
    return "CUDAExecutionProvider" in (providers() or []) and devices.gpu_present()


def _reason(error: BaseException) -> str:
    return without_folders(str(error)) or type(error).__name__


class Pace:
    """Which of two sessions is faster just now, by the median of each one's last five runs.

    Several threads win on an idle machine and lose, by a lot, where others use the cores too; so every 8th run tries
    the other session again. True stands for the session with several threads.
    """

    def __init__(self) -> None:
        self._seconds: dict[bool, deque[float]] = {True: deque(maxlen=5), False: deque(maxlen=5)}
        self._runs = 0

    def choose(self) -> bool:
        """The session for the next run; each is tried three times before one is preferred."""
        self._runs += 1
        tried, other = len(self._seconds[True]), len(self._seconds[False])
        if min(tried, other) < 3:
            return tried <= other
        best = statistics.median(self._seconds[True]) <= statistics.median(self._seconds[False])
        return not best if self._runs % 8 == 0 else best

    def note(self, several: bool, seconds: float, tokens: int) -> None:
        """Remember what a run took, by the token."""
        self._seconds[several].append(seconds / max(1, tokens))


class OnnxEngine:
    """Loads the one `.onnx` file of a folder."""

    def __init__(self, *, lone_sessions: bool = True) -> None:
        self._lone_sessions = lone_sessions

    def load(self, folder: Path, *, device: Device, spec: ModelSpec) -> OnnxSession:
        """Open the graph on `device`. Raises EngineFault(LOAD_FAILED or UNSUPPORTED)."""
        path = model_file(folder, ".onnx")
        return OnnxSession(path, device, lone=self._lone_sessions and device.kind == "cpu" and devices.cores() > 1)


class OnnxSession:
    """One graph: a session with one thread, run by as many callers as there are cores, and for a text that comes
    alone a second one that uses several cores for one run (docs/decisions, "ONNX threads").

    The second is made on the first lone run, in the background, and only while memory is plenty.
    """

    def __init__(self, path: Path, device: Device, *, lone: bool) -> None:
        self._path, self._device = path, device
        self._session = self._open(1)
        self._lone: Any = None
        self._lone_wanted = lone
        self._lone_lock = threading.Lock()
        self._lone_maker: threading.Thread | None = None
        self._pace = Pace()
        self._feeds = [_feeder(entry) for entry in self._session.get_inputs()]
        self._wanted = [entry.name for entry in self._session.get_outputs()]

    def want(self, names: Sequence[str]) -> None:
        """Compute only these outputs from now on."""
        self._wanted = list(names)

    def run(self, inputs: Inputs, *, lone: bool = False) -> list[Output]:
        """Run one batch. Raises EngineFault(RUN_FAILED)."""
        feed = {name: make(inputs) for name, make in self._feeds}
        several = lone and self._lone_ready() and self._pace.choose()
        before = time.perf_counter()
        try:
            arrays = (self._lone if several else self._session).run(self._wanted, feed)
        except Exception as error:  # onnxruntime's exception classes have no public base
            raise EngineFault(FaultCode.RUN_FAILED, _reason(error)) from None
        if lone:
            self._pace.note(several, time.perf_counter() - before, inputs.input_ids.size)
        return [Output(name, array) for name, array in zip(self._wanted, arrays, strict=True)]

    def prepare_lone(self) -> None:
        """Make the session for lone texts now, if one is wanted and memory allows."""
        if self._lone_wanted:
            self._lone_wanted = False
            if self._path.stat().st_size * 8 < memory.read().available:
                self._lone = self._open(min(devices.cores(), LONE_THREADS))

    def close(self) -> None:
        """Free the weights; waits for a lone session that is being made."""
        with self._lone_lock:
            maker = self._lone_maker
            self._lone_wanted = False
        if maker is not None:
            maker.join()
        self._session = self._lone = None

    def _lone_ready(self) -> bool:
        if self._lone is None and self._lone_wanted and self._lone_maker is None:
            with self._lone_lock:
                if self._lone_wanted and self._lone_maker is None:
                    self._lone_maker = threading.Thread(target=self._make_lone, name="lone-session", daemon=True)
                    self._lone_maker.start()
        return self._lone is not None

    def _make_lone(self) -> None:
        with contextlib.suppress(EngineFault, OSError):  # without it lone texts run on one thread
            self.prepare_lone()

    def _open(self, threads: int) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise EngineFault(FaultCode.UNSUPPORTED, "onnxruntime is not installed") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        # The pool for lone texts spins while a run is on (half of a short text's time is waking threads) and
        # stops with it, so that it takes nothing from the next batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_cpu_mem_arena = self._device.kind != "cpu"
        try:
            return onnxruntime.InferenceSession(str(self._path), options, providers=self._providers())
        except Exception as error:  # onnxruntime's exception classes have no public base
            raise EngineFault(FaultCode.LOAD_FAILED, _reason(error)) from None

    def _providers(self) -> list[Any]:
        if self._device.kind == "cuda":
            return [("CUDAExecutionProvider", {"device_id": self._device.index}), "CPUExecutionProvider"]
        return ["CPUExecutionProvider"]


def _feeder(entry: Any) -> tuple[str, Callable[[Inputs], Array]]:
    """How to fill one declared input of the graph. Raises EngineFault for one that no text model has."""
    plain = entry.name.rpartition(".")[2]
    make = _INPUT_MAKERS.get(_ALIASES.get(plain, plain))
    if make is None or entry.type not in _DTYPES:
        raise EngineFault(
            FaultCode.LOAD_FAILED,
            f"Input mismatch, the graph wants [{entry.name}] of {entry.type}; known: {sorted(_INPUT_MAKERS)}",
        )
    dtype = _DTYPES[entry.type]
    return entry.name, lambda inputs: np.ascontiguousarray(make(inputs), dtype=dtype)
