"""Which ingest pipelines apply to writes to an index, by its settings or by the templates it would be made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from bridge.proxy.slow.lookups import Lookup, Lookups, Unauthenticated
from bridge.proxy.slow.search_defaults import SearchDefaults
from bridge.proxy.slow.upstream import Upstream

STALE_SECONDS = 5.0
NONE = "_none"
_CAPACITY = 10_000
_NAMES = "*.settings.index.default_pipeline,*.settings.index.final_pipeline"
_SETTINGS = {"filter_path": f"{_NAMES},*.aliases.*.is_write_index,*.data_stream", "expand_wildcards": "all"}
_TEMPLATES = {"filter_path": f"*.index_patterns,*.order,{_NAMES}"}


@dataclass(frozen=True)
class Applied:
    """The pipelines of an index; None where it has none."""

    default: str | None = None
    final: str | None = None


NOTHING = Applied()


class Resolver:
    """Answers are remembered for `stale_seconds`, and forgotten when settings change through this bridge. `own` looks
    settings up for a caller who may not. `searches` knows the same of searches."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        own: Lookup | None = None,
        stale_seconds: float = STALE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookups = Lookups(upstream, own)
        self.searches = SearchDefaults(self._lookups, stale_seconds=stale_seconds, clock=clock)
        self._seconds = stale_seconds
        self._clock = clock
        self._known: dict[str, tuple[float, Applied]] = {}
        self._generation = 0

    def clear(self) -> None:
        """Forget all; also what is being asked right now."""
        self.searches.clear()
        self._known.clear()
        self._generation += 1

    async def applied(self, index: str, headers: Mapping[str, str]) -> Applied:
        """The pipelines for writes to `index` (a name, an alias or a data stream, decoded).

        Raises Forbidden when neither the caller nor the bridge may know, ClusterUnavailable.
        """
        known = self._known.get(index)
        if known is not None and known[0] > self._clock():
            return known[1]
        generation = self._generation
        try:
            found = await self._ask(index, headers)
        except Unauthenticated:
            return NOTHING
        if generation == self._generation:
            if len(self._known) >= _CAPACITY:
                self._known.clear()
            self._known[index] = (self._clock() + self._seconds, found)
        return found

    async def _ask(self, index: str, headers: Mapping[str, str]) -> Applied:
        status, body = await self._lookups.get("GET", f"/{quote(index, safe='')}", _SETTINGS, headers)
        if status == 200:
            return _of_existing(index, body)
        if status == 404:
            return await self._from_templates(index, headers)
        # The cluster refuses the name itself, and will refuse the write.
        return NOTHING

    async def _from_templates(self, index: str, headers: Mapping[str, str]) -> Applied:
        status, body = await self._lookups.get(
            "POST", f"/_index_template/_simulate_index/{quote(index, safe='')}", {}, headers
        )
        if status == 200 and isinstance(body, Mapping) and "template" in body:
            return _of_settings(body["template"])
        status, body = await self._lookups.get("GET", "/_template", _TEMPLATES, headers)
        return _of_legacy(index, body) if status == 200 and isinstance(body, Mapping) else NOTHING


def _of_existing(index: str, body: Any) -> Applied:
    """The settings of the index that a write to this name reaches: the name itself, or the alias's write index, or
    the newest backing index of a data stream."""
    if not isinstance(body, Mapping) or not body:
        return NOTHING
    if index in body:
        return _of_settings(body[index])
    for concrete in body.values():
        if concrete.get("aliases", {}).get(index, {}).get("is_write_index") in (True, "true"):
            return _of_settings(concrete)
    newest = max(body)
    return _of_settings(body[newest])


def _of_settings(template: Any) -> Applied:
    settings = template.get("settings", {}).get("index", {}) if isinstance(template, Mapping) else {}
    return Applied(_name(settings.get("default_pipeline")), _name(settings.get("final_pipeline")))


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value not in ("", NONE) else None


def _of_legacy(index: str, templates: Mapping[str, Any]) -> Applied:
    """Templates of the old kind are laid over each other, the highest order last."""
    default = final = None
    for template in sorted(templates.values(), key=lambda one: int(one.get("order", 0))):
        if any(fnmatchcase(index, pattern.replace("[", "[[]")) for pattern in template.get("index_patterns", ())):
            settings = template.get("settings", {}).get("index", {})
            default = settings.get("default_pipeline", default)
            final = settings.get("final_pipeline", final)
    return Applied(_name(default), _name(final))
