"""The cluster's answer to a write, as clients of ML Commons see it."""

from __future__ import annotations

from typing import Any

from bridge.store.documents import Version


def written(index: str, document_id: str, result: str, version: Version | None = None) -> dict[str, Any]:
    """`result` is `updated`, `deleted` or `not_found`; one shard, as the system indices have."""
    return {
        "_index": index,
        "_id": document_id,
        "_version": 1 if version is None else version.seq_no + 1,
        "result": result,
        "forced_refresh": True,
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_seq_no": 0 if version is None else version.seq_no,
        "_primary_term": 1 if version is None else version.primary_term,
    }
