"""Model documents as this process last saw them, so that a predict asks the cluster for nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from bridge.domain.model import Model
from bridge.store.documents import Documents, Stored

KEEP_SECONDS = 3.0
_MOST = 1000


class KnownModels:
    """A bounded cache; the reconcile loop refreshes what is deployed, so that only others are ever read again."""

    def __init__(
        self,
        models: Documents[Model],
        *,
        keep: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._keep = keep
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, Stored[Model]]] = OrderedDict()

    async def get(self, model_id: str, *, fresh: bool = False) -> Stored[Model] | None:
        """The document, at most `keep` seconds old; absence is never remembered."""
        seen = self._seen.get(model_id)
        if seen is not None and not fresh and self._clock() - seen[0] < self._keep:
            return seen[1]
        stored = await self._models.get(model_id)
        if stored is None:
            self._seen.pop(model_id, None)
        else:
            self._note(stored)
        return stored

    def note(self, found: Sequence[Stored[Model]]) -> None:
        """Remember what somebody has read; an older version never replaces a newer one."""
        for stored in found:
            seen = self._seen.get(stored.id)
            if seen is None or stored.version >= seen[1].version:
                self._note(stored)

    def forget(self, model_id: str) -> None:
        """Read it anew next time."""
        self._seen.pop(model_id, None)

    def _note(self, stored: Stored[Model]) -> None:
        self._seen[stored.id] = (self._clock(), stored)
        self._seen.move_to_end(stored.id)
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)
