"""How much memory there is, here and on a GPU, and how much this process has taken."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MACHINE, CGROUP = "the machine", "the container's cgroup"


@dataclass(frozen=True)
class Memory:
    """Bytes: `total` that this process could ever have of `place`, `available` now."""

    total: int
    available: int
    place: str = MACHINE


def folder_size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def read(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Memory:
    """The memory of this machine or container, the smaller one. Raises OSError where there is no /proc/meminfo."""
    found = limits(proc, cgroup)
    return Memory(min(one.total for one in found), min(one.available for one in found), found[-1].place)


def limits(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[Memory, ...]:
    """What bounds this process: the machine, then the cgroup if it has a limit of its own.

    Raises OSError where there is no /proc/meminfo.
    """
    info = _fields(proc / "meminfo", unit=1024)
    total = info.get("MemTotal", 0)
    machine = Memory(total, info.get("MemAvailable", info.get("MemFree", 0)))
    own = [one for one in (_version_two(cgroup), _version_one(cgroup / "memory")) if one is not None]
    return (machine, *(one for one in own if one.total < total))


def _version_two(root: Path) -> Memory | None:
    return _cgroup(root / "memory.max", root / "memory.current", root / "memory.stat", "inactive_file")


def _version_one(root: Path) -> Memory | None:
    used = root / "memory.usage_in_bytes"
    return _cgroup(root / "memory.limit_in_bytes", used, root / "memory.stat", "total_inactive_file")


def _cgroup(limit_file: Path, used_file: Path, stat_file: Path, cache: str) -> Memory | None:
    """None without a limit. Files that the kernel keeps in memory count as used, and are dropped when it gets tight."""
    limit, used = _number(limit_file), _number(used_file) or 0
    if limit is None:
        return None
    reclaimable = _fields(stat_file).get(cache, 0) if stat_file.is_file() else 0
    return Memory(limit, min(limit, max(0, limit - max(0, used - reclaimable))), CGROUP)


def _fields(path: Path, *, unit: int = 1) -> Mapping[str, int]:
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.replace(":", " ").partition(" ")
        number = rest.strip().split(" ")[0]
        if number.isdigit():
            found[name] = int(number) * unit
    return found


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def gpu(index: int, command: str = "nvidia-smi") -> Memory | None:
    """The memory of a GPU, as its driver's tool says; None where that is not to be had."""
    query = [command, "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits", "-i", str(index)]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
        total, free = (int(number) << 20 for number in told.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Memory(total, free, f"cuda:{index}")


def give_back() -> None:
    """Return freed memory to the system (glibc keeps it otherwise: after a model is gone, half of its size)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def rss(proc: Path = Path("/proc/self")) -> int:
    """Resident bytes of this process; 0 where /proc is missing."""
    try:
        return _fields(proc / "status", unit=1024).get("VmRSS", 0)
    except OSError:
        return 0
