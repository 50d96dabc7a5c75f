"""Searches in the bridge's own indices, in the caller's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from bridge.domain.model import OWN_FIELDS
from bridge.errors import ClusterError, InvalidRequest
from bridge.rest.answers import answer
from bridge.rest.body import is_media_type, read_body
from bridge.rest.parameters import last
from bridge.rest.services import services
from bridge.store.cluster import Answer
from bridge.wire import dumps_exact, loads_exact

_CHUNK = {"exists": {"field": "chunk_number"}}
_MATCH_ALL: dict[str, Any] = {"match_all": {}}
_AGGREGATIONS = ("aggs", "aggregations")
_SOURCE_TYPES = ("application/json", "application/vnd.opensearch+json", "application/x-ndjson", "application/yaml")
"""Of YAML only what is JSON, too, is read; CBOR and SMILE cannot stand in a URL."""


async def search(
    request: web.Request,
    index: str,
    *,
    hide: Sequence[str] = (),
    without_chunks: bool = False,
    only: dict[str, Any] | None = None,
    never: Sequence[dict[str, Any]] = (),
    secret: Sequence[str] = (),
) -> web.Response:
    """Pass the caller's search on to `index`; the cluster's answer, and its errors, come back as they are.

    `hide` names fields that are not sent unless `_source` asks for them, those of them that are the bridge's own
    (OWN_FIELDS) not even then. Chunks of models are left out unless the body
    speaks of `chunk_number` (ML Commons returns them always; see docs/compatibility.md). `only` is a query for what the
    caller may see (bridge/models/access.py), `never` are queries for what nobody finds, `secret` are fields that are
    never sent.

    Raises InvalidRequest for parts of a search that would look past `only`, NotAcceptable, Unparsable and ClusterError.
    """
    never_sent = (*secret, *(name for name in hide if name in OWN_FIELDS))
    raw = await _asked_for(request)
    body: Any = loads_exact(raw)
    if only is not None:
        _refuse_looking_past(body)
    asked = _without_secrets(_with_defaults(body, hide), never_sent)
    hidden = [*never, *([_CHUNK] if without_chunks and b"chunk_number" not in raw else [])]
    wrapped = isinstance(asked, dict) and (bool(hidden) or only is not None)
    sent = _narrowed(asked, only, hidden) if wrapped else asked
    found = await _ask(request, index, raw if sent is body else dumps_exact(sent))
    if sent is not body and found.status == 400:
        # The caller's own words are refused with the reason and position that they have without ours around them.
        found = await _plain_refusal(request, index, raw) or found
    if found.status >= 400:
        raise ClusterError(found.status, found.body)
    return answer(request, _stripped(found.body, never_sent) if never_sent else found.body)


def _with_defaults(body: Any, hide: Sequence[str]) -> Any:
    if not isinstance(body, dict) or not hide or "_source" in body:
        return body
    return {**body, "_source": {"excludes": list(hide)}}


def _without_secrets(body: Any, secret: Sequence[str]) -> Any:
    if not isinstance(body, dict) or not secret:
        return body
    source = body.get("_source")
    if isinstance(source, dict):
        excluded = source.get("excludes", source.get("exclude", []))
        listed = excluded if isinstance(excluded, list) else [excluded]
        kept = {name: value for name, value in source.items() if name != "exclude"}
        return {**body, "_source": {**kept, "excludes": [*listed, *secret]}}
    if source is False:
        return body
    included = [] if source in (True, None) else source if isinstance(source, list) else [source]
    return {**body, "_source": {"includes": included, "excludes": list(secret)}}


def _stripped(value: Any, never_sent: Sequence[str]) -> Any:
    """An answer without these fields, wherever documents stand in it: `fields`, `top_hits` and inner hits do not heed
    the search's own `_source`."""
    if isinstance(value, list):
        return [_stripped(inner, never_sent) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        if key in ("_source", "fields") and isinstance(inner, dict):
            found[key] = _without(inner, [tuple(name.split(".")) for name in never_sent])
        else:
            found[key] = _stripped(inner, never_sent)
    return found


def _without(document: dict[str, Any], paths: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """Without the fields at these paths, whether keys are nested or dotted."""
    kept = {}
    for key, inner in document.items():
        parts = tuple(key.split("."))
        if any(parts[: len(path)] == path for path in paths):
            continue
        below = [path[len(parts) :] for path in paths if path[: len(parts)] == parts]
        kept[key] = _without(inner, below) if below and isinstance(inner, dict) else inner
    return kept


def _narrowed(body: dict[str, Any], only: dict[str, Any] | None, hidden: list[dict[str, Any]]) -> dict[str, Any]:
    narrowed: dict[str, Any] = {"must": [body.get("query", _MATCH_ALL)], "must_not": hidden}
    if only is not None:
        narrowed["filter"] = [only]
    return {**body, "query": {"bool": narrowed}}


async def _asked_for(request: web.Request) -> bytes:
    """The body, or the parameter `source`. Raises InvalidRequest when there is neither, and for a content type that is
    none, or none that the cluster reads."""
    raw = await read_body(request)
    if raw:
        return raw
    source = last(request, "source")
    if not source:
        raise InvalidRequest("request body or source parameter is required", kind="parse_exception")
    if "source_content_type" not in request.query:
        raise InvalidRequest("source and source_content_type parameters are required")
    kind = last(request, "source_content_type")
    if not is_media_type(kind):
        raise InvalidRequest(f"invalid Content-Type header [{kind}]")
    if kind.partition(";")[0].strip().lower() not in _SOURCE_TYPES:
        raise InvalidRequest(f"Unknown value for source_content_type [{kind}]", kind="illegal_state_exception")
    return source.encode()


async def _plain_refusal(request: web.Request, index: str, raw: bytes) -> Answer | None:
    """What the cluster has against the bare search; None when it would answer it, which nobody is to see."""
    found = await _ask(request, index, raw)
    return found if found.status >= 400 else None


def _refuse_looking_past(body: Any) -> None:
    """Raises InvalidRequest for what reads documents that the query does not find."""
    if not isinstance(body, dict):
        return
    if "suggest" in body:
        raise InvalidRequest("suggest cannot be used while model access control is enabled")
    if any(_has_global(body.get(name)) for name in _AGGREGATIONS):
        raise InvalidRequest("global aggregations cannot be used while model access control is enabled")


def _has_global(aggregations: Any) -> bool:
    named = aggregations.values() if isinstance(aggregations, dict) else ()
    return any(
        "global" in one or any(_has_global(one.get(name)) for name in _AGGREGATIONS)
        for one in named
        if isinstance(one, dict)
    )


async def _ask(request: web.Request, index: str, body: bytes) -> Answer:
    params = {"version": "true", "seq_no_primary_term": "true", "ignore_unavailable": "true"}
    return await services(request).cluster.attempt(
        "POST", f"/{index}/_search", params=params, body=body, idempotent=True
    )
