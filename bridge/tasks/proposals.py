"""Which open claims a worker tries: hints of this process first, then a small page from a random place."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from bridge.domain.names import TaskType
from bridge.domain.task import Claim, ClaimState
from bridge.store.documents import Documents, Stored, Version

PLACES = 2**31
"""Claims stand at random places in [0, PLACES)."""

_PASSED_OVER = 5.0
_MAX_HINTS = 1_000
_MAX_TRIED = 20_000


class Proposals:
    """Candidates only: the compare-and-set on the claim decides.

    A search lags behind, so it shows claims again that somebody has won already. One that was tried is passed over
    while it shows the same version, for some refreshes long. Measured: with random places instead of oldest first,
    conflicts fall four to six times.
    """

    def __init__(self, claims: Documents[Claim], clock: Callable[[], float], rng: random.Random) -> None:
        self._claims = claims
        self._clock = clock
        self._rng = rng
        self._hints: deque[Stored[Claim]] = deque(maxlen=_MAX_HINTS)
        self._tried: OrderedDict[str, tuple[Version, float]] = OrderedDict()
        self._crowded = False
        self.more = False

    def hint(self, claim: Stored[Claim]) -> None:
        """An open claim that this process has just written; no search can see it yet."""
        self._hints.append(claim)

    def place(self) -> int:
        """A random place for a new claim."""
        return self._rng.randrange(PLACES)

    async def candidates(self, types: Collection[TaskType], limit: int) -> Sequence[Stored[Claim]]:
        """At most `limit` claims to try. `more` says whether another look at once may find others."""
        found = self._take_hints(types, limit)
        self.more = bool(self._hints)
        if len(found) < limit:
            known = {claim.id for claim in found}
            found += [claim for claim in await self._search(types, limit - len(found)) if claim.id not in known]
        for claim in found:
            self._remember(claim)
        return found

    def _take_hints(self, types: Collection[TaskType], limit: int) -> list[Stored[Claim]]:
        taken: list[Stored[Claim]] = []
        for _ in range(len(self._hints)):
            if len(taken) == limit:
                break
            hint = self._hints.popleft()
            if hint.value.task_type not in types:
                self._hints.append(hint)
            elif not self._passed_over(hint):
                taken.append(hint)
        return taken

    async def _search(self, types: Collection[TaskType], limit: int) -> list[Stored[Claim]]:
        size = min(2 * limit + 4, 64)
        if self._crowded:
            start = self._rng.randrange(PLACES)
            page = list(await self._page(types, size, {"range": {"place": {"gte": start}}}))
            if len(page) < size:
                page += await self._page(types, size - len(page), {"range": {"place": {"lt": start}}})
        else:
            page = list(await self._page(types, size))
        self._crowded = len(page) == size
        fresh = [claim for claim in page if not self._passed_over(claim)]
        self._rng.shuffle(fresh)
        self.more = self.more or self._crowded or len(fresh) > limit
        return fresh[:limit]

    async def _page(self, types: Collection[TaskType], size: int, *filters: dict[str, Any]) -> Sequence[Stored[Claim]]:
        asked = [{"term": {"state": ClaimState.OPEN.value}}, {"terms": {"task_type": sorted(types)}}, *filters]
        return await self._claims.search({"bool": {"filter": asked}}, size=size, sort=[{"place": "asc"}])

    def _remember(self, claim: Stored[Claim]) -> None:
        self._tried.pop(claim.id, None)
        self._tried[claim.id] = claim.version, self._clock()
        while len(self._tried) > _MAX_TRIED:
            self._tried.popitem(last=False)

    def _passed_over(self, claim: Stored[Claim]) -> bool:
        version, when = self._tried.get(claim.id, (None, 0.0))
        return version == claim.version and self._clock() - when < _PASSED_OVER
