"""Documents kept in this process: for tests, and for trying things without a cluster."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from bridge.errors import VersionConflict
from bridge.store.cluster_documents import new_id
from bridge.store.documents import Stored, Version
from bridge.store.matching import matches, sort_key
from bridge.wire import dumps, from_document, loads, to_document

T = TypeVar("T")


class InMemoryDocuments(Generic[T]):
    """`Documents[T]` with the cluster's rules: real compare-and-set, copies in and out, JSON in between.

    With `instant` False a search sees what the last `refresh` saw, versions included, as in a real index between two
    refreshes. `ids` makes ids for documents created without one. Every call gives way to other tasks first, so that
    races can happen.
    """

    def __init__(
        self,
        kind: type[T],
        *,
        only: Mapping[str, Any] | None = None,
        instant: bool = True,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._kind = kind
        self._only = only
        self._instant = instant
        self._ids = ids
        self._counter = itertools.count()
        self._now: dict[str, tuple[Version, bytes]] = {}
        self._seen: dict[str, tuple[Version, bytes]] = {}

    async def get(self, id: str) -> Stored[T] | None:
        """See Documents.get."""
        await asyncio.sleep(0)
        found = self._now.get(id)
        if found is None or (self._only is not None and not matches(self._only, id, loads(found[1]))):
            return None
        return self._stored(id, found)

    async def create(self, value: T, *, id: str | None = None, refresh: bool = False) -> Stored[T]:
        """See Documents.create."""
        await asyncio.sleep(0)
        made = id if id is not None else self._ids()
        if made in self._now:
            raise VersionConflict(f"[{made}]: version conflict, document already exists")
        return self._write(made, value, refresh)

    async def replace(self, stored: Stored[T], value: T, *, refresh: bool = False) -> Stored[T]:
        """See Documents.replace."""
        await asyncio.sleep(0)
        self._check(stored.id, stored.version)
        return self._write(stored.id, value, refresh)

    async def replace_many(self, pairs: Sequence[tuple[Stored[T], T]]) -> Sequence[Stored[T] | None]:
        """See Documents.replace_many."""
        await asyncio.sleep(0)
        written: list[Stored[T] | None] = []
        for stored, value in pairs:
            try:
                self._check(stored.id, stored.version)
            except VersionConflict:
                written.append(None)
            else:
                written.append(self._write(stored.id, value, False))
        return written

    async def put(self, id: str, value: T, *, refresh: bool = False) -> Stored[T]:
        """See Documents.put."""
        await asyncio.sleep(0)
        return self._write(id, value, refresh)

    async def delete(self, id: str, *, version: Version | None = None, refresh: bool = False) -> bool:
        """See Documents.delete."""
        await asyncio.sleep(0)
        if id not in self._now:
            return False
        if version is not None:
            self._check(id, version)
        next(self._counter)
        del self._now[id]
        if refresh:
            await self.refresh()
        return True

    async def search(
        self,
        query: Mapping[str, Any],
        *,
        size: int = 100,
        sort: Sequence[Mapping[str, Any]] = (),
        exclude: Sequence[str] = (),
    ) -> Sequence[Stored[T]]:
        """See Documents.search; `exclude` takes top-level names."""
        await asyncio.sleep(0)
        found = self._found(query)
        if sort:
            found.sort(key=sort_key(sort))
        source = self._searched()
        hits = []
        for key, document in found[:size]:
            kept = {name: value for name, value in document.items() if name not in exclude}
            hits.append(Stored(key, from_document(self._kind, kept), source[key][0]))
        return hits

    async def ids(self, query: Mapping[str, Any], *, size: int = 10_000) -> Sequence[str]:
        """See Documents.ids."""
        await asyncio.sleep(0)
        return [key for key, _ in self._found(query)[:size]]

    async def refresh(self) -> None:
        """See Documents.refresh."""
        self._seen = dict(self._now)

    def _searched(self) -> dict[str, tuple[Version, bytes]]:
        return self._now if self._instant else self._seen

    def _found(self, query: Mapping[str, Any]) -> list[tuple[str, Any]]:
        decoded = {key: loads(raw) for key, (_, raw) in self._searched().items()}
        return [
            (key, document)
            for key, document in decoded.items()
            if matches(query, key, document) and (self._only is None or matches(self._only, key, document))
        ]

    def _check(self, id: str, version: Version) -> None:
        found = self._now.get(id)
        if found is None or found[0] != version:
            current = "document does not exist" if found is None else f"current document has {found[0]}"
            raise VersionConflict(f"[{id}]: version conflict, required {version}, {current}")

    def _write(self, id: str, value: T, refresh: bool) -> Stored[T]:
        version = Version(1, next(self._counter))
        self._now[id] = version, dumps(to_document(value))
        if refresh:
            self._seen = dict(self._now)
        return Stored(id, value, version)

    def _stored(self, id: str, found: tuple[Version, bytes]) -> Stored[T]:
        version, raw = found
        return Stored(id, from_document(self._kind, loads(raw)), version)
