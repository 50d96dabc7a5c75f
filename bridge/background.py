"""The one place where asyncio tasks are started: each has a name, a reference that is kept, and a logged end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Background:
    """A set of running tasks owned by one object; `close` cancels and awaits them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `coroutine` until it ends or `close` is called; a failure is logged, never swallowed."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def settled(self, within: float | None = None) -> bool:
        """Wait for all tasks to end by themselves; False when `within` seconds were not enough."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(set(self._tasks), timeout=within)
        return not pending

    async def close(self) -> None:
        """Cancel what still runs and wait until it has gone."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        told: dict[str, Any] = {"action": "background.failed", "task": task.get_name()}
        # An error of the bridge's own tree says why; where it was raised is no news, and it may come each second.
        reason = getattr(error, "reason", None)
        if isinstance(reason, str):
            log.warning("background task failed", reason=reason, **told)
        else:
            log.error("background task failed", exc_info=error, **told)
