"""Where models run: CUDA when there is one that works, the CPU otherwise; and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """`kind` is "cpu" or "cuda"; `index` counts the GPUs of the machine from 0."""

    kind: str = "cpu"
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read "cpu", "cuda" or "cuda:1". Raises ValueError."""
        kind, _, index = text.strip().lower().partition(":")
        if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
            raise ValueError(f"unknown device [{text}], expected cpu, cuda or cuda:N")
        return cls(kind, int(index or 0) if kind == "cuda" else 0)


CPU = Device()


@dataclass(frozen=True)
class Line:
    """One line of an explanation: `level` is "ok" or "warning"."""

    level: str
    text: str


def gpu_nodes(root: Path = Path("/dev")) -> list[int]:
    """Indexes of the NVIDIA GPUs whose device files exist; the driver makes them."""
    return sorted(int(path.name[6:]) for path in root.glob("nvidia[0-9]*") if path.name[6:].isdigit())


def choose(requested: str | None, *, cuda_works: bool) -> Device:
    """The device for one model: what was asked for, else CUDA when it works, else the CPU.

    A CUDA device that was asked for and does not work gives the CPU: a model that answers slowly is better than none.
    """
    wanted = Device.parse(requested) if requested and requested != "auto" else None
    if wanted is not None and (wanted.kind == "cpu" or cuda_works):
        return wanted
    return Device("cuda", 0) if wanted is None and cuda_works else CPU


def cores() -> int:
    """CPU cores this process may use: its affinity, cut by the cgroup's quota, at least 1."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores()
    return max(1, min(usable, int(quota) if quota and quota >= 1 else usable if quota is None else 1))


def cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cgroup's CPU quota in cores (version 2, then 1); None when there is none."""
    try:
        quota, _, period = (root / "cpu.max").read_text().strip().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        return None if quota_us <= 0 else quota_us / int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None


def explain(*, onnx_providers: list[str] | None, torch_cuda: bool | None, gpus: list[int] | None = None) -> list[Line]:
    """Lines for `bridge doctor`: what each engine can use and, where it can't use a GPU, why.

    `onnx_providers` is None when onnxruntime is not installed, `torch_cuda` None when torch isn't.
    """
    found = gpu_nodes() if gpus is None else gpus
    lines = [Line("ok", f"CPU: {cores()} core(s) for inference")]
    if found:
        lines.append(Line("ok", f"GPU: {len(found)} NVIDIA device(s), driver loaded"))
    else:
        lines.append(Line("ok", "GPU: none found (no /dev/nvidia*); models run on the CPU"))
    lines += [_onnx_line(onnx_providers, bool(found)), _torch_line(torch_cuda, bool(found))]
    return lines


def _onnx_line(providers: list[str] | None, gpu: bool) -> Line:
    if providers is None:
        return Line("warning", "ONNX: onnxruntime is not installed; ONNX models cannot be deployed here")
    if "CUDAExecutionProvider" not in providers:
        level = "warning" if gpu else "ok"
        advice = ": install onnxruntime-gpu (extra [gpu]) to use the GPU" if gpu else ""
        return Line(level, f"ONNX: on the CPU; this onnxruntime is built without the CUDA provider{advice}")
    if not gpu:
        return Line("ok", "ONNX: on the CPU; the CUDA provider is there, but no driver or no GPU")
    return Line("ok", "ONNX: on CUDA")


def _torch_line(cuda: bool | None, gpu: bool) -> Line:
    if cuda is None:
        return Line("ok", "TorchScript, SAFETENSORS: torch (extra [torch]) is missing; such models cannot be deployed")
    if cuda:
        return Line("ok", "TorchScript: on CUDA")
    if gpu:
        return Line("warning", "TorchScript: on the CPU; torch finds no working CUDA (CPU build, or driver too old)")
    return Line("ok", "TorchScript: on the CPU")


@lru_cache(maxsize=1)
def gpu_present() -> bool:
    """Whether any NVIDIA device file is there; asked once per process."""
    return bool(gpu_nodes())
