"""How much memory a model may take, and how much there is."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

ESTIMATE_FACTOR = 1.5
"""Memory over the size of the model's zip: the factor ML Commons reports as memory_size_estimation."""


@dataclass(frozen=True)
class Memory:
    """Bytes: `total` this process could ever have, `available` now; the smaller of the machine's and the cgroup's."""

    total: int
    available: int


def estimate(size: int, *, factor: float = ESTIMATE_FACTOR) -> int:
    """Bytes a model of `size` bytes will need once loaded."""
    return int(size * factor)


def shortage(size: int, memory: Memory, *, margin: int = 64 << 20) -> str | None:
    """Why a model of `size` bytes must not be loaded now, with the figures; None when there is room."""
    needed = estimate(size)
    if needed + margin <= memory.available:
        return None
    return (
        f"not enough memory: the model needs about {needed >> 20} MiB, {memory.available >> 20} MiB of "
        f"{memory.total >> 20} MiB are available"
    )


def folder_size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _meminfo(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        number = rest.strip().split(" ")[0]
        if number.isdigit():
            found[name] = int(number) * 1024
    return found


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def read(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Memory:
    """The memory of this machine or container. Raises OSError where there is no /proc/meminfo."""
    info = _meminfo(proc / "meminfo")
    total, available = info.get("MemTotal", 0), info.get("MemAvailable", info.get("MemFree", 0))
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _number(cgroup / limit_name), _number(cgroup / used_name)
        if limit is not None and limit < total:
            total = limit
            available = min(available, max(0, limit - (used or 0)))
    return Memory(total, available)


def give_back() -> None:
    """Return freed memory to the system (glibc keeps it otherwise: after a model is gone, half of its size)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def rss(proc: Path = Path("/proc/self")) -> int:
    """Resident bytes of this process; 0 where /proc is missing."""
    try:
        for line in (proc / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
