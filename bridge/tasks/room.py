"""Who may run beside whom in one worker process."""

from __future__ import annotations


class Room:
    """Many beside each other, or one alone.

    A task on its last attempt runs alone: if it kills the process again, no innocent neighbour uses up an attempt with
    it, and if it was the innocent one, nobody kills it. Nobody waits here, since who waits holds a claim and would die
    with the one inside: who finds no room gives the claim back. For one that wanted to be alone the worker then takes
    nothing new until the room is empty.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._alone = False
        self._wanted = False

    def enter(self, *, alone: bool) -> bool:
        """Go in if there is room; False when the claim must be given back."""
        if self._alone or (alone and self._inside):
            self._wanted = self._wanted or alone
            return False
        self._inside += 1
        self._alone = alone
        self._wanted = False
        return True

    def leave(self) -> None:
        """Go out again."""
        self._inside -= 1
        self._alone = False

    def places(self, free: int) -> int:
        """How many of `free` slots may be filled now."""
        if self._alone:
            return 0
        if self._wanted:
            return min(free, 1) if self._inside == 0 else 0
        return free
