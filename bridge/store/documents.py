"""Typed documents with compare-and-set; the only coordination there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Version:
    """A document's place in its shard's history; a write that names an old one is refused."""

    primary_term: int
    seq_no: int


@dataclass(frozen=True)
class Stored(Generic[T]):
    """A document as it was read or written."""

    id: str
    value: T
    version: Version


class Documents(Protocol[T]):
    """One index's documents of one type.

    All methods raise ClusterUnavailable when the cluster gave no whole answer (after bounded retries) and
    ClusterError when it refused. Reads by id are real-time; `search` lags behind writes until a refresh.
    `refresh` on a write: False, or True to make it visible to searches before the call returns.
    """

    async def get(self, id: str) -> Stored[T] | None:
        """The document, or None."""
        ...

    async def create(self, value: T, *, id: str | None = None, refresh: bool = False) -> Stored[T]:
        """Write a new document. Raises VersionConflict when `id` exists."""
        ...

    async def replace(self, stored: Stored[T], value: T, *, refresh: bool = False) -> Stored[T]:
        """Write `value` over `stored`. Raises VersionConflict when somebody else wrote or deleted since."""
        ...

    async def replace_many(self, pairs: Sequence[tuple[Stored[T], T]]) -> Sequence[Stored[T] | None]:
        """`replace` for each pair in one round trip; None stands where the version had moved on."""
        ...

    async def put(self, id: str, value: T, *, refresh: bool = False) -> Stored[T]:
        """Write whatever stands there now: for documents with one writer (a node's own, a user's pipeline)."""
        ...

    async def delete(self, id: str, *, version: Version | None = None, refresh: bool = False) -> bool:
        """Remove; False when it was not there. Raises VersionConflict when `version` is given and has moved on."""
        ...

    async def search(
        self,
        query: Mapping[str, Any],
        *,
        size: int = 100,
        sort: Sequence[Mapping[str, Any]] = (),
        exclude: Sequence[str] = (),
    ) -> Sequence[Stored[T]]:
        """At most `size` documents; `exclude` names source fields that are not to be sent."""
        ...

    async def ids(self, query: Mapping[str, Any], *, size: int = 10_000) -> Sequence[str]:
        """Ids of at most `size` documents, without reading them: chunks are large."""
        ...

    async def refresh(self) -> None:
        """Make all writes visible to searches."""
        ...
