"""What every child of the supervisor does first: read its orders from standard input, and end when the parent ends."""

from __future__ import annotations

import os
import signal
import sys
import threading


def orders() -> str:
    """The one line of configuration that the supervisor wrote. Afterwards the pipe is watched: its end is our end."""
    line = sys.stdin.buffer.readline().decode("utf-8")
    if not line:
        raise SystemExit("this program is started by `bridge serve`")
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()
    return line


def _watch() -> None:
    # The supervisor never writes again, so a read returns only when the last copy of the other end is closed.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
