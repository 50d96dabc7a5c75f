"""Who may run beside whom in one worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Many beside each other, or one alone; who waits to be alone is not overtaken.

    A task on its last attempt runs alone: if it kills the process again, no innocent neighbour uses up an attempt with
    it, and if it was the innocent one, nobody kills it.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._alone = 0

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for room, and keep it inside the block."""
        async with self._changed:
            # Counted from the first wait to the end of the stay: as long, nobody else may come in.
            self._alone += alone
            try:
                await self._changed.wait_for(lambda: self._inside == 0 if alone else self._alone == 0)
            except BaseException:
                self._alone -= alone
                self._changed.notify_all()
                raise
            self._inside += 1
        try:
            yield
        finally:
            # No waiting here: a cancelled stay must give the room back too.
            self._inside -= 1
            self._alone -= alone
            async with self._changed:
                self._changed.notify_all()
