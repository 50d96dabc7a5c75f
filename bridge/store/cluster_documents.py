"""Documents kept in one index of the cluster.

Writes are create-only or compare-and-set, so each may be repeated when its answer was lost; a conflict after a lost
answer is resolved by reading:

- create: what stands there has the wanted content -> it was this write (or an equal one: the caller's end is reached).
- replace: what stands there has the wanted content and a newer version -> it was this write. If somebody wrote again
  since, the caller is told of a conflict, which is then true as well.
- delete: nothing stands there -> done.

Reads by id ask the primary, so that they never go back in time on a cluster with replicas.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import orjson
import structlog

from bridge.errors import BridgeError, ClusterError, ClusterUnavailable, VersionConflict
from bridge.store.cluster import Answer, Cluster, is_block
from bridge.store.documents import Stored, Version
from bridge.store.matching import matches
from bridge.wire import dumps, from_document, to_document

T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_SIZE = 10_000
"""The largest page a search may ask for (`index.max_result_window`)."""


def new_id() -> str:
    """An id as OpenSearch makes them: 20 letters of base64url, never with a dash in front (a shell's option)."""
    while (made := secrets.token_urlsafe(15)).startswith(("-", "_")):
        pass
    return made


class ClusterDocuments(Generic[T]):
    """`Documents[T]` on an index; `only`: a query that reads and searches keep to (models, chunks share it)."""

    def __init__(self, cluster: Cluster, index: str, kind: type[T], *, only: Mapping[str, Any] | None = None) -> None:
        self.cluster = cluster
        self.index = index
        self._kind = kind
        self._only = only

    async def get(self, id: str) -> Stored[T] | None:
        """See Documents.get; a missing index reads as a missing document."""
        if not id:
            # Without an id the path would be another route of the cluster.
            return None
        answer = await self.cluster.attempt("GET", self._path(id), params={"preference": "_primary"})
        if answer.status == 404 and _absent(answer.body):
            return None
        body = self._accepted(answer)
        if self._only is not None and not matches(self._only, id, body["_source"]):
            return None
        return self._stored(body["_id"], from_document(self._kind, body["_source"]), body)

    async def create(self, value: T, *, id: str | None = None, refresh: bool = False) -> Stored[T]:
        """See Documents.create; without an id, one is made here, so that a repeated write stays one document."""
        made = id if id is not None else new_id()
        document = to_document(value)
        answer = await self._write("PUT", made, document, refresh, {"op_type": "create"})
        if answer.status == 409:
            return await self._resolve(made, value, document, answer, None)
        return self._stored(made, value, self._accepted(answer))

    async def replace(self, stored: Stored[T], value: T, *, refresh: bool = False) -> Stored[T]:
        """See Documents.replace."""
        document = to_document(value)
        answer = await self._write("PUT", stored.id, document, refresh, _condition(stored.version))
        if answer.status == 409:
            return await self._resolve(stored.id, value, document, answer, stored.version)
        return self._stored(stored.id, value, self._accepted(answer))

    async def replace_many(self, pairs: Sequence[tuple[Stored[T], T]]) -> Sequence[Stored[T] | None]:
        """See Documents.replace_many; an item that was turned away for load counts as not written."""
        if not pairs:
            return []
        lines: list[bytes] = []
        for stored, value in pairs:
            lines.append(orjson.dumps({"index": {"_id": stored.id, **_condition(stored.version)}}))
            lines.append(dumps(to_document(value)))
        path = f"/{self.index}/_bulk"
        answer = await self.cluster.attempt("POST", path, body=b"\n".join(lines) + b"\n", idempotent=True)
        items = [item["index"] for item in self._accepted(answer)["items"]]
        return [
            await self._outcome(stored, value, item, answer.unsure)
            for (stored, value), item in zip(pairs, items, strict=True)
        ]

    async def put(self, id: str, value: T, *, refresh: bool = False) -> Stored[T]:
        """See Documents.put."""
        answer = await self._write("PUT", id, to_document(value), refresh, {})
        return self._stored(id, value, self._accepted(answer))

    async def delete(self, id: str, *, version: Version | None = None, refresh: bool = False) -> bool:
        """See Documents.delete."""
        if not id:
            return False
        condition = {} if version is None else _condition(version)
        answer = await self._write("DELETE", id, None, refresh, condition)
        if answer.status == 404 and _absent(answer.body):
            # After a lost answer nobody can say who deleted it; what the caller wanted is so.
            return answer.unsure
        if answer.status == 409:
            if await self.get(id) is None:
                return answer.unsure
            raise _conflict(answer.body)
        self._accepted(answer)
        return True

    async def search(
        self,
        query: Mapping[str, Any],
        *,
        size: int = 100,
        sort: Sequence[Mapping[str, Any]] = (),
        exclude: Sequence[str] = (),
    ) -> Sequence[Stored[T]]:
        """See Documents.search; a document that cannot be read as T is left out and logged."""
        body: dict[str, Any] = {"seq_no_primary_term": True}
        if sort:
            body["sort"] = list(sort)
        if exclude:
            body["_source"] = {"excludes": list(exclude)}
        found = [self._read(hit) for hit in await self._hits(query, size, body)]
        return [stored for stored in found if stored is not None]

    async def ids(self, query: Mapping[str, Any], *, size: int = MAX_SIZE) -> Sequence[str]:
        """See Documents.ids."""
        return [str(hit["_id"]) for hit in await self._hits(query, size, {"_source": False})]

    async def refresh(self) -> None:
        """See Documents.refresh."""
        await self.cluster.request("POST", f"/{self.index}/_refresh")

    async def _hits(self, query: Mapping[str, Any], size: int, more: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked = query if self._only is None else {"bool": {"filter": [query, self._only]}}
        body = {"query": asked, "size": min(size, MAX_SIZE), "track_total_hits": False, **more}
        params = {"allow_partial_search_results": "false", "preference": "_primary"}
        answer = await self.cluster.attempt("POST", f"/{self.index}/_search", params=params, body=body)
        if answer.status == 404 and _absent(answer.body):
            return []
        hits: list[dict[str, Any]] = self._accepted(answer)["hits"]["hits"]
        return hits

    def _path(self, id: str) -> str:
        return f"/{self.index}/_doc/{quote(id, safe='')}"

    async def _write(self, method: str, id: str, document: Any, refresh: bool, params: Mapping[str, Any]) -> Answer:
        asked = {**params, "refresh": "true"} if refresh else params
        return await self.cluster.attempt(method, self._path(id), params=asked, body=document, idempotent=True)

    async def _resolve(
        self, id: str, value: T, document: dict[str, Any], answer: Answer, before: Version | None
    ) -> Stored[T]:
        if answer.unsure:
            mine = await self._mine(id, value, document, before)
            if mine is not None:
                return mine
        raise _conflict(answer.body)

    async def _mine(self, id: str, value: T, document: dict[str, Any], before: Version | None) -> Stored[T] | None:
        found = await self.get(id)
        if found is None or to_document(found.value) != document:
            return None
        if before is not None and found.version <= before:
            return None
        return Stored(id, value, found.version)

    async def _outcome(self, stored: Stored[T], value: T, item: dict[str, Any], unsure: bool) -> Stored[T] | None:
        status = item["status"]
        if status < 300:
            return self._stored(stored.id, value, item)
        if status == 409:
            return await self._mine(stored.id, value, to_document(value), stored.version) if unsure else None
        if status in (429, 503) or (status == 403 and is_block(item)):
            return None
        raise ClusterError(status, {"error": item.get("error"), "status": status})

    def _read(self, hit: dict[str, Any]) -> Stored[T] | None:
        try:
            return self._stored(hit["_id"], from_document(self._kind, hit.get("_source") or {}), hit)
        except BridgeError as error:
            log.warning("document left out", action="documents.unreadable", id=hit["_id"], reason=error.reason)
            return None

    def _stored(self, id: str, value: T, body: Mapping[str, Any]) -> Stored[T]:
        return Stored(id, value, Version(body["_primary_term"], body["_seq_no"]))

    def _accepted(self, answer: Answer) -> Any:
        if answer.status >= 400:
            raise ClusterError(answer.status, answer.body)
        if not isinstance(answer.body, dict):
            raise ClusterUnavailable(f"the cluster's answer for {self.index} is not a JSON object")
        return answer.body


def _condition(version: Version) -> dict[str, int]:
    return {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}


def _absent(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    error = body.get("error")
    missing_index = isinstance(error, dict) and error.get("type") == "index_not_found_exception"
    return missing_index or body.get("found") is False or body.get("result") == "not_found"


def _conflict(body: Any) -> VersionConflict:
    error = body.get("error") if isinstance(body, dict) else None
    reason = error.get("reason") if isinstance(error, dict) else None
    return VersionConflict(str(reason or "the document has been written since it was read"))
