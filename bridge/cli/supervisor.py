"""Keeps the processes of `bridge serve` alive: each may die alone and comes back; SIGTERM drains them in order.

The supervisor does no work of its own, holds the listening socket (so that a front that restarts loses no connection in
the backlog) and one end of a pipe to each child (so that no child outlives it, even after kill -9).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

import structlog

from bridge.proxy.front.door import turn_away

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_STEADY = 30.0
"""A child that ran this many seconds is not blamed for its earlier deaths."""


@dataclass
class Child:
    """One process to keep: `module` is run with `config` on its standard input, which then stays open."""

    name: str
    module: str
    config: Callable[[], str]
    fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    pipe: IO[bytes] | None = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    due: float = field(default=0.0)

    def start(self) -> None:
        """Run it and hand it its configuration."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-m", self.module], stdin=subprocess.PIPE, pass_fds=tuple(self.fds)
        )
        self.pipe = self.process.stdin
        if self.pipe is not None:
            try:
                self.pipe.write(self.config().encode() + b"\n")
                self.pipe.flush()
            except BrokenPipeError:
                log.warning("child ended before it was told anything", action="child.early", child=self.name)

    @property
    def running(self) -> bool:
        """True until its end has been seen."""
        return self.process is not None and self.process.poll() is None

    def ended(self) -> None:
        """Note its end and when it is to come back."""
        assert self.process is not None  # noqa: S101  (only called for a started child)
        lived = time.monotonic() - self.started
        self.pause = _FIRST_PAUSE if lived > _STEADY else min(self.pause * 2, _LONGEST_PAUSE)
        self.due = time.monotonic() + self.pause
        code = self.process.returncode
        log.warning("process ended", action="child.ended", child=self.name, code=code, back_in=round(self.pause, 2))
        if self.pipe is not None:
            self.pipe.close()
        self.process = None

    def signal(self, number: int) -> None:
        """Send a signal if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Runs children until told to stop, or until a child says that running makes no sense (exit code `fatal`)."""

    FATAL = 78
    """EX_CONFIG: a child that ends with this wants to be told something different, not to be tried again."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        grace: float,
        on_end: Callable[[int], None],
        doors: Sequence[socket.socket] = (),
    ) -> None:
        self._children = children
        self._doors = doors
        self._grace = grace
        self._on_end = on_end
        self._stopping = False
        self._code = 0
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)

    def run(self) -> int:
        """Until SIGTERM (exit code 0), SIGINT (130) or a child's FATAL; the exit code."""
        signal.set_wakeup_fd(self._wake_write.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._note)
        for child in self._children:
            child.start()
        while not self._stopping:
            self._sleep(self._until_due())
            code = self._tend()
            if code is not None:
                self._stop()
                return code
        self._stop()
        return self._code

    def _note(self, number: int, _: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT) and not self._stopping:
            self._stopping = True
            self._code = 128 + number if number == signal.SIGINT else 0

    def _until_due(self) -> float:
        waiting = [c.due - time.monotonic() for c in self._children if c.process is None]
        return max(0.0, min(waiting)) if waiting else 1.0

    def _sleep(self, seconds: float) -> None:
        select.select([self._wake_read], [], [], seconds)
        try:
            self._wake_read.recv(4096)
        except BlockingIOError:
            return

    def _tend(self) -> int | None:
        for child in self._children:
            if child.process is None:
                if child.due <= time.monotonic() and not self._stopping:
                    child.start()
            elif child.process.poll() is not None:
                self._on_end(child.process.pid)
                if child.process.returncode == self.FATAL:
                    return self.FATAL
                child.ended()
        return None

    def _stop(self) -> None:
        log.info("draining", action="supervisor.drain", grace=self._grace)
        # First the listening socket: nobody new comes in while the fronts take in who waits, and our own hold on it
        # goes, with which the kernel would go on taking connections that no front accepts any more.
        for door in self._doors:
            turn_away(door)
            door.close()
        for child in self._children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace + 5.0
        while any(c.running for c in self._children) and time.monotonic() < deadline:
            self._sleep(0.2)
        for child in self._children:
            child.signal(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()


def listen(host: str, port: int) -> socket.socket:
    """The socket that the fronts share. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(4096)
    sock.setblocking(False)
    os.set_inheritable(sock.fileno(), True)
    return sock
