"""Ingest and search pipelines that hold processors of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StoredPipeline:
    """A whole definition as the client wrote it; `kind` is `ingest` or `search`.

    The document's id is `<kind>:<name>`. What the cluster itself can run stands in the cluster under the same name.
    """

    kind: str
    name: str
    definition: dict[str, Any]
    last_updated_time: int | None = None
