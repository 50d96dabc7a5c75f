"""The cluster-wide settings as this bridge knows them, at most about a second behind their document."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.domain.cluster_settings import ClusterSettings, defaults, with_values
from bridge.domain.setting_rules import SettingValue, SettingValues, check
from bridge.errors import Unavailable, VersionConflict
from bridge.store.documents import Documents, Stored
from bridge.store.freshness import keep_fresh

REFRESH_SECONDS = 1.0
DOCUMENT_ID = "cluster_settings"
_TRIES = 20

Changes = Mapping[str, SettingValue | None]
"""Whole keys and their new values; None resets, and a key may then end with `*`."""


@dataclass(frozen=True)
class Kept:
    """What has been set and not reset; transient values stand before persistent ones, as in the cluster."""

    persistent: SettingValues = field(default_factory=dict)
    transient: SettingValues = field(default_factory=dict)


class LiveSettings:
    """Implements bridge.domain.cluster_settings.CurrentSettings; `run` keeps it fresh until `stop`.

    `base` holds what counts where nothing is set. The switches named in `forbidden` (fields of ClusterSettings) stay
    False whatever the cluster's settings say: the operator of this process has decided.
    """

    def __init__(
        self,
        documents: Documents[dict[str, Any]],
        *,
        base: ClusterSettings | None = None,
        forbidden: frozenset[str] = frozenset(),
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._documents = documents
        self._off: dict[str, Any] = dict.fromkeys(forbidden, False)
        self._base = replace(base or ClusterSettings(), **self._off)
        self._seconds = refresh_seconds
        self._stopped = asyncio.Event()
        self._seen: Stored[dict[str, Any]] | None = None
        self.kept = Kept()
        self._current = self._base

    @property
    def current(self) -> ClusterSettings:
        """See CurrentSettings."""
        return self._current

    def defaults(self) -> dict[str, SettingValue]:
        """What counts for each key where nothing is set."""
        return defaults(self._base)

    async def run(self) -> None:
        """Refresh until `stop`; a cluster that cannot be read leaves everything as it was."""
        await keep_fresh(self.refresh, self._stopped, self._seconds, what="settings")

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def refresh(self) -> None:
        """Read the document anew. Raises ClusterUnavailable and ClusterError."""
        seen = self._seen
        stored = await self._documents.get(DOCUMENT_ID)
        # A read that began before a change of ours must not undo it here.
        if self._seen is seen and (stored is None or seen is None or stored.version != seen.version):
            self._seen = stored
            self._take(_kept(stored))

    async def change(self, *, persistent: Changes | None = None, transient: Changes | None = None) -> Kept:
        """Apply all changes or none; gives the values that were set. They count here when this returns.

        Raises InvalidRequest in the cluster's words for a key or value that may not be, ClusterUnavailable and
        ClusterError.
        """
        wanted = {"transient": transient or {}, "persistent": persistent or {}}
        for store, changes in wanted.items():
            for key in sorted(changes):
                check(store, key, changes[key])
        for _ in range(_TRIES):
            stored = await self._documents.get(DOCUMENT_ID)
            before = _kept(stored)
            after = Kept(
                persistent=_changed(before.persistent, wanted["persistent"]),
                transient=_changed(before.transient, wanted["transient"]),
            )
            try:
                self._note(await self._write(stored, after))
            except VersionConflict:
                continue
            return Kept(persistent=_set(wanted["persistent"]), transient=_set(wanted["transient"]))
        raise Unavailable("the settings are being written by too many at once")

    async def _write(self, stored: Stored[dict[str, Any]] | None, kept: Kept) -> Stored[dict[str, Any]]:
        document = {
            "config_type": DOCUMENT_ID,
            "settings": {"persistent": _plain(kept.persistent), "transient": _plain(kept.transient)},
            "last_updated_time": time.time_ns() // 1_000_000,
        }
        if stored is None:
            return await self._documents.create(document, id=DOCUMENT_ID)
        return await self._documents.replace(stored, document)

    def _note(self, stored: Stored[dict[str, Any]]) -> None:
        # Answers to two writes may come in the other order.
        if self._seen is None or stored.version > self._seen.version:
            self._seen = stored
            self._take(_kept(stored))

    def _take(self, kept: Kept) -> None:
        self.kept = kept
        made = with_values(self._base, {**kept.persistent, **kept.transient})
        self._current = replace(made, **self._off)


def _kept(stored: Stored[dict[str, Any]] | None) -> Kept:
    found = stored.value.get("settings") if stored is not None else None
    if not isinstance(found, dict):
        return Kept()
    return Kept(persistent=_values(found.get("persistent")), transient=_values(found.get("transient")))


def _values(found: Any) -> SettingValues:
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(key): tuple(map(str, value)) if isinstance(value, list) else str(value) for key, value in pairs}


def _plain(values: SettingValues) -> dict[str, Any]:
    return {key: list(values[key]) if isinstance(values[key], tuple) else values[key] for key in sorted(values)}


def _changed(before: SettingValues, changes: Changes) -> SettingValues:
    gone = [_matcher(key) for key, value in changes.items() if value is None]
    kept = {key: value for key, value in before.items() if not any(pattern.fullmatch(key) for pattern in gone)}
    return {**kept, **_set(changes)}


def _set(changes: Changes) -> dict[str, SettingValue]:
    return {key: value for key, value in sorted(changes.items()) if value is not None}


def _matcher(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))), re.DOTALL)
