"""What a request's path means: the kind of work it asks for. Pure, and the same for every table."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from bridge.proxy.front.heads import BadRequest


class Work(Enum):
    """Kinds of work that differ in the lane they may take. SEARCHES: what is searched stands in the body."""

    PLAIN = "plain"
    OURS = "ours"
    HEALTH = "health"
    SEARCH = "search"
    SEARCHES = "searches"
    WRITE = "write"
    BULK = "bulk"
    REWRITE = "rewrite"


class Route(NamedTuple):
    """`target` is the decoded index part of the path of a write, or of a search that the pipeline of its indices
    applies to; None where the path names none."""

    work: Work
    target: str | None = None


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DATE_MATH = re.compile(rb"<[^<>]*>")
_SEARCHES = frozenset(
    (b"_search", b"_msearch", b"_count", b"_validate", b"_explain", b"_async_search", b"_rank_eval", b"_knn_search")
)
_PIPED = frozenset((b"_search", b"_count"))
_CHANGING = frozenset((b"PUT", b"POST", b"DELETE", b"PATCH"))
_WRITING = frozenset((b"PUT", b"POST"))
_GLOBAL_WRITES = {b"_bulk": Work.BULK, b"_reindex": Work.REWRITE}
_INDEX_WRITES = {
    b"_doc": Work.WRITE,
    b"_create": Work.WRITE,
    b"_update": Work.WRITE,
    b"_bulk": Work.BULK,
    b"_update_by_query": Work.REWRITE,
}
_PLUGINS = {
    b"_ml": Work.OURS,
    b"_asynchronous_search": Work.SEARCH,
    b"_sql": Work.SEARCH,
    b"_ppl": Work.SEARCH,
}
_TEMPLATES = frozenset(
    (
        b"_template", b"_index_template", b"_component_template", b"_data_stream", b"_alias", b"_aliases",
        b"_settings",
    )
)  # fmt: skip
_INDEX_ADMIN = frozenset(
    (
        b"_settings", b"_alias", b"_aliases", b"_rollover", b"_clone", b"_split", b"_shrink", b"_restore", b"_open",
        b"_close",
    )
)  # fmt: skip
_PLAIN = Route(Work.PLAIN)
_OURS = Route(Work.OURS)


def route(method: bytes, path: bytes) -> Route:
    """The route of a raw path. The cluster splits a path before it decodes it, other servers on the way may decode
    first or collapse slashes: a path that would then be other work is refused. Raises BadRequest."""
    # Bounded in bytes as well as in entries: paths may be as long as the request line.
    return _remembered(method, path) if len(path) <= 256 else _read(method, path)


def _read(method: bytes, path: bytes) -> Route:
    raw = path.split(b"/")[1:]
    while raw and not raw[-1]:
        raw.pop()
    if b"%" in path:
        if _BAD_ESCAPE.search(path):
            raise BadRequest("The request path holds a malformed escape.")
        decoded = [unquote_to_bytes(part) for part in raw]
        whole = _DATE_MATH.sub(lambda name: name[0].replace(b"/", b"\0"), unquote_to_bytes(path))
        other = [part for part in whole.split(b"/") if part]
    else:
        decoded = raw
        other = [part for part in raw if part]
    if any(part in (b".", b"..") for part in decoded) or any(part in (b".", b"..") for part in other):
        raise BadRequest("The request path holds a relative segment.")
    found = _route(method, decoded)
    if other != decoded and _route(method, other).work is not found.work:
        raise BadRequest("The request path can be read in two ways.")
    return found


_remembered = lru_cache(maxsize=4096)(_read)


def _route(method: bytes, parts: list[bytes]) -> Route:
    if not parts:
        return _PLAIN
    if parts[0][:1] == b"_" and parts[0] != b"_all":
        return Route(_global(method, parts[0], parts[1:]))
    return _index(method, parts[0], parts[1:])


def _global(method: bytes, first: bytes, rest: list[bytes]) -> Work:
    second = rest[0] if rest else b""
    if first == b"_plugins":
        return _PLUGINS.get(second, Work.PLAIN)
    if first == b"_bridge":
        return Work.HEALTH if rest == [b"health"] else Work.OURS
    if second == b"pipeline" and first in (b"_ingest", b"_search"):
        return Work.OURS
    if first in _SEARCHES:
        return _search(first, rest)
    if first in _GLOBAL_WRITES:
        return _GLOBAL_WRITES[first] if method in _WRITING else Work.PLAIN
    return Work.OURS if _administers(method, first, rest) else Work.PLAIN


def _search(first: bytes, rest: list[bytes]) -> Work:
    """Scrolling on and opening a point in time take no query."""
    if rest[:1] in ([b"scroll"], [b"point_in_time"]):
        return Work.PLAIN
    return Work.SEARCHES if first == b"_msearch" or rest[:1] == [b"template"] else Work.SEARCH


def _administers(method: bytes, first: bytes, rest: list[bytes]) -> bool:
    """Whether a request may change which pipeline applies where; the application then drops what it remembered."""
    if first == b"_cluster":
        return rest == [b"settings"]
    if method not in _CHANGING:
        return False
    if first == b"_snapshot":
        return rest[-1:] == [b"_restore"]
    return first in _TEMPLATES


def _index(method: bytes, name: bytes, rest: list[bytes]) -> Route:
    if not rest:
        return _OURS if method in (b"PUT", b"DELETE") else _PLAIN
    action = rest[0]
    if action in _SEARCHES:
        searched = action in _PIPED and len(rest) == 1
        return Route(_search(action, rest[1:]), name.decode("utf-8", "replace") if searched else None)
    if action in _INDEX_WRITES and method in _WRITING:
        return Route(_INDEX_WRITES[action], name.decode("utf-8", "replace"))
    return _OURS if action in _INDEX_ADMIN and method in _CHANGING else _PLAIN
