"""Whose turn it is to load a model: few at once, and nobody behind one that takes for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

AT_ONCE = 2
AGAIN_AT_ONCE = 1
PATIENCE_SECONDS = 60.0


class _Lane:
    """First come, first served. `places` is asked anew each time."""

    def __init__(self, places: Callable[[], int]) -> None:
        self._places = places
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if not self._waiting and self._running < self._places():
            self._running += 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.leave()
            else:
                self._waiting.remove(mine)
            raise

    def leave(self) -> None:
        self._running -= 1
        while self._waiting and self._running < self._places():
            self._running += 1
            self._waiting.popleft().set_result(None)


class _Place:
    """One place in a lane, given back once."""

    def __init__(self, lane: _Lane) -> None:
        self._lane: _Lane | None = lane

    def give_back(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.leave()


class Turns:
    """Two lanes: first tries, and those that failed before; a model that fails again and again delays only its like.

    A load that is still going on after `patience` seconds keeps going on but gives its turn to the next. `limit` is
    asked each time (`max_deploy_model_tasks_per_node`).
    """

    def __init__(self, limit: Callable[[], int], *, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._lanes = {
            again: _Lane(lambda most=most: max(1, min(most, limit())))  # type: ignore[misc]
            for again, most in ((False, AT_ONCE), (True, AGAIN_AT_ONCE))
        }

    @asynccontextmanager
    async def turn(self, *, again: bool) -> AsyncIterator[None]:
        """Wait for a turn and hold it; `again`: this one has failed before."""
        lane = self._lanes[again]
        await lane.enter()
        place = _Place(lane)
        timer = asyncio.get_running_loop().call_later(self._patience, place.give_back)
        try:
            yield
        finally:
            timer.cancel()
            place.give_back()
