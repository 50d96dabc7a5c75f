"""Work folders of nodes, and clearing away what a test run that died left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

from cache_folder import cache_folder, exclusive


def new_folder(prefix: str) -> Path:
    """A folder for one node, marked as this process's; folders of dead processes are cleared on the way."""
    base = cache_folder() / "nodes"
    with exclusive("nodes"):
        base.mkdir(exist_ok=True)
        for stale in base.iterdir():
            if not _owner_lives(stale):
                _clear(stale)
        made = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=base))
        made.chmod(0o755)
        owner = {"pid": os.getpid(), "started": _start_of(os.getpid())}
        (made / "owner.json").write_text(json.dumps(owner))
    return made


def read_pid(file: Path) -> int:
    """The pid written in the file, 0 when there is none (yet)."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _owner_lives(folder: Path) -> bool:
    try:
        owner = json.loads((folder / "owner.json").read_text())
    except (OSError, ValueError):
        return False
    return _alive(owner["pid"]) and owner["started"] == _start_of(owner["pid"])


def _clear(folder: Path) -> None:
    """Kill the folder's node if it is still there; only a process that works in that folder counts as one."""
    pid = read_pid(folder / "pid")
    if pid and _alive(pid) and str(folder) in _command_line(pid):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_of(pid: int) -> str:
    """Kernel start time of a process: a reused pid differs. Empty where /proc is missing (macOS)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
