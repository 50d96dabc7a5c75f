"""Which rights the bridge's own account has on its own indices, found out by harmless requests.

The security plugin judges a request before anything else does, so each question is one that changes nothing whatever
stands there: an index without shards, a setting that does not exist as such, a write under a version that was never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import kind_in
from bridge.store.cluster import Answer, Cluster

_NEVER = {"if_seq_no": 0, "if_primary_term": 1}
_NO_DOCUMENT = "bridge-access"


@dataclass(frozen=True)
class Right:
    """A permission of the security plugin and what it is for; `setup`: needed only to make or upgrade indices."""

    permission: str
    purpose: str
    method: str
    path: str
    body: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    setup: bool = False


CLUSTER_RIGHTS = (
    Right("cluster:monitor/main", "to know the cluster's version", "GET", "/"),
    Right("cluster:monitor/health", "to wait until the cluster is up", "GET", "/_cluster/health"),
    Right("cluster:monitor/nodes/info", "to know the cluster's plugins", "GET", "/_nodes/plugins"),
)
"""On the cluster."""

INDEX_RIGHTS = (
    Right("indices:admin/mappings/get", "to know an index's version", "GET", "/{index}/_mapping"),
    Right("indices:data/read/get", "to read documents", "GET", f"/{{index}}/_doc/{_NO_DOCUMENT}"),
    Right("indices:data/read/search", "to search", "POST", "/{index}/_search", {"size": 0}),
    Right(
        "indices:data/write/index",
        "to write documents",
        "PUT",
        f"/{{index}}/_doc/{_NO_DOCUMENT}",
        {},
        {**_NEVER, "require_alias": "true"},
    ),
    Right(
        "indices:data/write/delete",
        "to delete documents",
        "DELETE",
        f"/{{index}}/_doc/{_NO_DOCUMENT}",
        params=_NEVER,
    ),
    Right(
        "indices:data/write/bulk*",
        "to write several documents at once",
        "POST",
        "/{index}/_bulk",
        b'{"delete":{"_id":"bridge-access","if_seq_no":0,"if_primary_term":1}}\n',
    ),
    Right("indices:admin/refresh*", "to see what was just written", "POST", "/{index}/_refresh"),
    Right(
        "indices:admin/create",
        "to make an index",
        "PUT",
        "/{index}",
        {"settings": {"index.number_of_shards": 0}},
        setup=True,
    ),
    Right(
        "indices:admin/settings/update",
        "to upgrade an index",
        "PUT",
        "/{index}/_settings",
        {"index.refresh_interval": "-2"},
        setup=True,
    ),
    Right(
        "indices:admin/mapping/put", "to upgrade an index", "PUT", "/{index}/_mapping", {"properties": {}}, setup=True
    ),
)
"""On each of the bridge's indices."""


@dataclass(frozen=True)
class Lacking:
    """A right that is missing, on the cluster or on these indices."""

    right: Right
    indices: tuple[str, ...] = ()


async def lacking(cluster: Cluster, indices: Sequence[str]) -> list[Lacking]:
    """All that the cluster refuses to the bridge's account; none on a cluster without security.

    Raises ClusterUnavailable.
    """
    found = [Lacking(right) for right in CLUSTER_RIGHTS if await _refused(cluster, right)]
    for right in INDEX_RIGHTS:
        refused = await asyncio.gather(*(_refused(cluster, right, index) for index in indices))
        names = tuple(index for index, no in zip(indices, refused, strict=True) if no)
        found += [Lacking(right, names)] if names else []
    return found


async def _refused(cluster: Cluster, right: Right, index: str = "") -> bool:
    path = right.path.format(index=index)
    answer = await cluster.attempt(right.method, path, params=right.params, body=right.body, idempotent=True)
    return answer.status == 403 or (right.permission.startswith("indices:data/write/bulk") and _item_refused(answer))


def _item_refused(answer: Answer) -> bool:
    items = answer.body.get("items", []) if isinstance(answer.body, dict) else []
    return any(kind_in(item) == "security_exception" for told in items for item in told.values())
