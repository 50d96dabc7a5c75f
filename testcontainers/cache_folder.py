"""Where unpacked servers and models are kept between runs, and the locks that let parallel runs share them."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "opensearch-ml-bridge"


def cache_folder() -> Path:
    """XDG_CACHE_HOME/opensearch-ml-bridge; for root without that variable, the system's cache folder.

    A node started by root runs as an unprivileged user, who may not enter root's home.
    """
    chosen = os.environ.get("XDG_CACHE_HOME")
    if chosen:
        base = Path(chosen)
    elif os.geteuid() == 0:
        base = Path("/var/cache")
    else:
        base = Path.home() / ".cache"
    folder = base / NAME
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the machine-wide lock `name`; the kernel lets it go when the holder dies."""
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends well: whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-", ignore_cleanup_errors=True) as made:
        growing = Path(made) / "content"
        growing.mkdir()
        yield growing
        growing.rename(target)
