"""The threads that compute: as many as the device can keep busy, shared by all models on it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

Task = Callable[[], None]


class Source(Protocol):
    """Where a crew looks for work; called with the crew's lock held, must not block."""

    def next_task(self, free: int, busy: int) -> Task | None:
        """A piece of work, or None; `free` threads (the asking one included) and `busy` ones at work."""


class Crew:
    """`size` threads that take work from their sources in turn; `lock` guards the sources' queues too.

    Only the threads wait on `lock`; whoever waits for something else makes a condition of its own on `mutex`, or a
    single notification could wake the wrong one.
    """

    def __init__(self, size: int, *, name: str = "cpu") -> None:
        self.size = size
        self.mutex = threading.RLock()
        self.lock = threading.Condition(self.mutex)
        self._sources: deque[Source] = deque()
        self._busy = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"infer-{name}-{number}", daemon=True) for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, source: Source) -> None:
        """Look for work there from now on."""
        with self.lock:
            self._sources.append(source)

    def remove(self, source: Source) -> None:
        """Ask it no more."""
        with self.lock:
            self._sources.remove(source)

    def stop(self) -> None:
        """Let the threads finish what they do and end."""
        with self.lock:
            self._stopping = True
            self.lock.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self.lock:
                task = self._next()
                while task is None:
                    if self._stopping:
                        return
                    self.lock.wait()
                    task = self._next()
                self._busy += 1
            try:
                task()
            except Exception:  # a thread that dies would cost a core until the next restart
                log.exception("a piece of inference work failed")
            finally:
                with self.lock:
                    self._busy -= 1

    def _next(self) -> Task | None:
        for _ in range(len(self._sources)):
            source = self._sources[0]
            self._sources.rotate(-1)
            task = source.next_task(self.size - self._busy, self._busy)
            if task is not None:
                return task
        return None
