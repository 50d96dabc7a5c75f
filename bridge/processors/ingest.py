"""What every ingest processor of ours is: documents in, documents or errors out, one outcome for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bridge.domain.caller import Caller
from bridge.errors import BridgeError
from bridge.models.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class IngestDocument:
    """A document on its way into an index; `id` is None where the cluster will make one up, `caller` who sends it."""

    fields: Mapping[str, Any]
    index: str | None = None
    id: str | None = None
    routing: str | None = None
    caller: Caller | None = None


Outcome: TypeAlias = Mapping[str, Any] | BridgeError
"""The fields a document has afterwards, or why it may not be written."""

StoredFields: TypeAlias = Callable[[IngestDocument], Awaitable[Mapping[str, Any] | None]]
"""Reads the stored state of a document with the caller's own rights; None when there is none."""


class IngestProcessor(Protocol):
    """A configured processor; holds no state of a request."""

    async def run(self, documents: Sequence[IngestDocument], stored: StoredFields) -> list[Outcome]:
        """One outcome per document, in order. Never raises for the sake of a document or a model."""
        ...


@dataclass(frozen=True, kw_only=True)
class IngestServices:
    """What ingest processors are built with."""

    predictor: Predictor
