"""Which processors the bridge runs, by their names on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bridge.processors import (
    collapse,
    ml_inference_request,
    ml_inference_response,
    rename_field,
    rerank,
    sort,
    split,
    text_embedding,
    truncate_hits,
)
from bridge.processors.inference_config import KIND
from bridge.processors.ingest import IngestProcessor, IngestServices
from bridge.processors.search import RequestFactory, ResponseFactory


class IngestFactory(Protocol):
    """Builds a processor from its configuration; raises InvalidRequest with the real server's text."""

    def __call__(
        self, config: Mapping[str, Any], services: IngestServices, *, tag: str | None = None
    ) -> IngestProcessor: ...


REQUEST: dict[str, RequestFactory] = {KIND: ml_inference_request.build}
RESPONSE: dict[str, ResponseFactory] = {KIND: ml_inference_response.build, rerank.KIND: rerank.build}
NATIVE_RESPONSE: dict[str, ResponseFactory] = {
    collapse.KIND: collapse.build,
    rename_field.KIND: rename_field.build,
    sort.KIND: sort.build,
    split.KIND: split.build,
    truncate_hits.KIND: truncate_hits.build,
}
"""The cluster's own response processors, reproduced exactly for where one of ours stands before them."""
INGEST: dict[str, IngestFactory] = {text_embedding.KIND: text_embedding.build}

NOT_SERVED_INGEST = frozenset(
    ("ml_inference", "sparse_encoding", "text_image_embedding", "text_chunking", "semantic", "system_ingest_processor")
)
"""Ingest processors of ML Commons and neural-search that this bridge does not run yet; others are the cluster's."""
