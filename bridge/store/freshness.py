"""Keeps what a process remembers of the cluster's documents fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bridge.errors import BridgeError

log = structlog.get_logger(__name__)


async def keep_fresh(
    refresh: Callable[[], Awaitable[None]], stopped: asyncio.Event, seconds: float, *, what: str
) -> None:
    """Call `refresh` every `seconds` until `stopped` is set. A cluster that can't be read leaves everything as it was;
    the first failure of a row is logged, with `what` as its subject and action."""
    failing = False
    while not stopped.is_set():
        try:
            await refresh()
            failing = False
        except BridgeError as error:
            if not failing:
                log.warning(f"{what} not refreshed", action=f"{what}.stale", reason=error.reason)
            failing = True
        try:
            await asyncio.wait_for(stopped.wait(), seconds)
        except TimeoutError:
            continue
