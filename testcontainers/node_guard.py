"""A small process between a test run and its OpenSearch node: the node never outlives either of them.

    python node_guard.py PID_FILE WATCHED_PID USER COMMAND...

Runs COMMAND (as USER unless that is "-"), writes the node's pid to PID_FILE, and ends it when told to (SIGTERM), or
when WATCHED_PID, the process that started the guard, is gone (0: nobody is watched). The exit status is the node's.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.25
GRACE_SECONDS = 20.0


def _become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _run_node(user: str, command: list[str], guard: int) -> None:
    os.setsid()
    if user != "-":
        _become(user)
    # After the change of user: changing credentials clears the parent-death signal. The guard itself may be killed -9.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
    os.execvp(command[0], command)


def _wait(node: int, watched: int, asked: list[int]) -> int:
    deadline = 0.0
    while True:
        ended, status = os.waitpid(node, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        orphaned = watched and os.getppid() != watched
        if (asked or orphaned) and not deadline:
            deadline = time.monotonic() + (0 if orphaned else GRACE_SECONDS)
            os.kill(node, signal.SIGTERM)
        elif deadline and time.monotonic() >= deadline:
            os.kill(node, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def main(pid_file: str, watched: str, user: str, *command: str) -> int:
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked.append(received))
    guard = os.getpid()
    node = os.fork()
    if node == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            _run_node(user, list(command), guard)
        finally:
            os._exit(127)
    Path(pid_file).write_text(str(node))
    return _wait(node, int(watched), asked) & 0xFF


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
