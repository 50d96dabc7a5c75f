"""Which lane a request takes. Pure decisions over a parsed head, the lane table and, where it matters, the body."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from bridge.proxy.front.heads import RequestHead
from bridge.proxy.front.routes import Route, Work, route
from bridge.proxy.front.table import Table
from bridge.proxy.front.verdicts import Verdicts
from bridge.proxy.front.words import suspicious


class Lane(Enum):
    """Where a request goes. SCAN: the body has to be read before that is known; see `after_scan`."""

    FAST = "fast"
    SLOW = "slow"
    HEALTH = "health"
    SCAN = "scan"


class Choice(NamedTuple):
    """`learns` names what a verdict in the application's answer would be about: an index that is written to, or `?` and
    what is searched. `spare`: the cluster's own answer will do while there is no application."""

    lane: Lane
    learns: str | None = None
    spare: bool = False


_FAST = Choice(Lane.FAST)
_SLOW = Choice(Lane.SLOW)
_SPARE = Choice(Lane.SLOW, spare=True)
_SCAN = Choice(Lane.SCAN)
UNSCANNED = _SLOW
"""What is suspicious, or too long to be looked at."""
_HEALTH = Choice(Lane.HEALTH)
_PIT = (b'"pit"', b"'pit'", b"pit:", b"cpit", b"\x82pit")
"""The key of a point in time in JSON, YAML, CBOR and Smile."""


def choose(head: RequestHead, table: Table, verdicts: Verdicts) -> Choice:
    """The lane of a request by its head alone. Raises BadRequest for a path that can be read in two ways."""
    found = route(head.method, head.path)
    work = found.work
    if work is Work.PLAIN:
        return _FAST
    if work is Work.SEARCH or work is Work.SEARCHES:
        return _search(head, table, verdicts, found)
    if work is Work.OURS:
        return _SPARE if head.method == b"GET" and head.path.startswith(b"/_cluster/") else _SLOW
    if work is Work.HEALTH:
        return _HEALTH
    if not table.known or table.ingest_pipelines:
        return _write(head, table, verdicts, found)
    return _FAST


def after_scan(head: RequestHead, table: Table, body: bytes | bytearray, limit: int, choice: Choice = _SCAN) -> Choice:
    """What becomes of `choice` when the body has been read, `limit` bounding what a compressed one may inflate to."""
    words = table.words
    if table.search_pipelines and route(head.method, head.path).target is None:
        # A point in time brings its indices along, and they their pipeline.
        words += _PIT
    if suspicious(body, words, head.encoding, limit):
        return UNSCANNED
    return Choice(Lane.SLOW, choice.learns, spare=True) if choice.spare else _FAST


def _search(head: RequestHead, table: Table, verdicts: Verdicts, found: Route) -> Choice:
    named, scope = None, f"?{found.target}"
    for name, value in parameters(head.query) if head.query else ():
        if name == b"source" and suspicious(value, table.words + _PIT, None, len(value)):
            return _SLOW
        if name == b"search_pipeline":
            named = value.decode("utf-8", "replace")
        elif name == b"expand_wildcards":
            scope += "?" + value.decode("utf-8", "replace")
    if named is not None:
        slow = named in table.search_pipelines or (not table.known and named != "_none")
        return _SLOW if slow else _plain(head)
    return _by_default(head, table, verdicts, found, scope)


def _by_default(head: RequestHead, table: Table, verdicts: Verdicts, found: Route, scope: str) -> Choice:
    """A search that leaves it to its indices which pipeline it goes through."""
    if table.search_pipelines:
        if found.work is Work.SEARCHES:
            return _SLOW
        if found.target is not None and not verdicts.clear(scope, table.version):
            if not verdicts.knows(scope):
                return Choice(Lane.SLOW, scope)
            # What was clear a moment ago will do while there is nobody to ask: searches outlive the application.
            return Choice(Lane.SCAN if head.has_body else Lane.SLOW, scope, spare=True)
    return _plain(head)


def _plain(head: RequestHead) -> Choice:
    return _SCAN if head.has_body else _FAST


def _write(head: RequestHead, table: Table, verdicts: Verdicts, found: Route) -> Choice:
    if found.work is not Work.WRITE or found.target is None:
        return _SLOW
    named = [value for name, value in parameters(head.query) if name == b"pipeline"] if head.query else []
    clear = verdicts.clear(found.target, table.version)
    if any(value.decode("utf-8", "replace") in table.ingest_pipelines for value in named):
        return _SLOW
    if clear and table.known:
        return _FAST
    # The answer to a write that names its pipeline says nothing about writes that leave it to the index.
    return Choice(Lane.SLOW, None if named else found.target)


def parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of a query string as the cluster takes it apart: `&` and `;` both separate."""
    found = []
    for part in query.replace(b";", b"&").split(b"&"):
        name, _, value = part.partition(b"=")
        if b"%" in part or b"+" in part:
            name = unquote_to_bytes(name.replace(b"+", b" "))
            value = unquote_to_bytes(value.replace(b"+", b" "))
        found.append((name, value))
    return found
