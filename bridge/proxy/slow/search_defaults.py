"""Which search pipeline the searched indices bring along (contract/processors.md section 1.1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from bridge.proxy.slow.lookups import Lookups, Unauthenticated

NONE = "_none"
_CAPACITY = 10_000
_SETTING = "index.search.default_pipeline"
_CLOSED = "index.verified_before_close"
# As a search resolves names: open indices only.
_ASKED = {"flat_settings": "true", "expand_wildcards": "open"}


class SearchDefaults:
    """Answers are remembered for `stale_seconds`, and forgotten when settings change through this bridge. Only what
    the cluster said of indices that are there is remembered: the next write may make one of them."""

    def __init__(self, lookups: Lookups, *, stale_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookups = lookups
        self._seconds = stale_seconds
        self._clock = clock
        self._known: dict[tuple[str, tuple[tuple[str, str], ...], str], tuple[float, str | None]] = {}
        self._generation = 0

    def clear(self) -> None:
        """Forget all; also what is being asked right now."""
        self._known.clear()
        self._generation += 1

    async def of(
        self, target: str, resolving: Mapping[str, str], headers: Mapping[str, str], *, caller: str = ""
    ) -> str | None:
        """The name of the pipeline that applies to a search of `target`, a list of names as it stands in a path,
        decoded; `resolving` are the request's parameters about wildcards and missing indices. `caller` is who asks,
        where callers have rights: a wildcard stands for what he may see.

        Raises Forbidden when neither the caller nor the bridge may know, ClusterUnavailable.
        """
        # Settings of another cluster give no default.
        names = [name for name in target.split(",") if name and not _is_remote(name)]
        if not names:
            return None
        key = (",".join(names), tuple(sorted(resolving.items())), caller if is_wild(target) else "")
        known = self._known.get(key)
        if known is not None and known[0] > self._clock():
            return known[1]
        generation = self._generation
        try:
            known_there, found = await self._ask(names, resolving, headers)
        except Unauthenticated:
            return None
        if known_there and generation == self._generation:
            if len(self._known) >= _CAPACITY:
                self._known.clear()
            self._known[key] = (self._clock() + self._seconds, found)
        return found

    async def _ask(
        self, names: Iterable[str], resolving: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[bool, str | None]:
        """Whether the cluster knows all that is named, and the pipeline. A search does not reach closed indices."""
        path = f"/{quote(','.join(names), safe=',*')}/_settings/{_SETTING},{_CLOSED}"
        status, body = await self._lookups.get("GET", path, {**_ASKED, **resolving}, headers)
        if status != 200 or not isinstance(body, Mapping):
            # The cluster refuses the names themselves, and will refuse the search.
            return False, None
        settings = [index.get("settings", {}) for index in body.values()]
        return True, agreed(one.get(_SETTING) for one in settings if one.get(_CLOSED) != "true")


def agreed(settings: Iterable[Any]) -> str | None:
    """The one pipeline that all indices with a setting name; two different ones make none. The server's own answer for
    `_none` beside a name depends on the order of a hash table: here the name counts."""
    named = {name for name in settings if isinstance(name, str) and name not in ("", NONE)}
    return named.pop() if len(named) == 1 else None


def is_wild(target: str | None) -> bool:
    """Whether a list of names stands for more than it names."""
    return target is not None and ("*" in target or "_all" in target.split(","))


def _is_remote(name: str) -> bool:
    # A date math expression holds a colon in no place that matters here.
    return ":" in name and not name.startswith(("<", "-<"))
