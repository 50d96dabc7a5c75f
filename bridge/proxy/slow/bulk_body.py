"""A bulk request's lines: actions are read, documents stay bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import BridgeError, Unparsable, error_body, status_of
from bridge.wire import loads

_ACTIONS = frozenset(("index", "create", "update", "delete"))


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One action; `head` and `source` are its lines without the newline, `source` is None for a delete."""

    action: str
    head: bytes
    source: bytes | None
    index: str | None
    id: str | None
    pipeline: str | None
    routing: str | None

    @property
    def indexes(self) -> bool:
        """Whether a whole document is written: only then pipelines run."""
        return self.action in ("index", "create")


def read_bulk(body: bytes, index: str | None) -> list[BulkItem] | None:
    """The items, `index` standing where an action names none; None for a body that the cluster has to judge."""
    if not body.endswith(b"\n"):
        return None
    lines = body.split(b"\n")
    items = []
    at, end = 0, len(lines) - 1
    while at < end:
        head = lines[at]
        at += 1
        if not head.strip():
            continue
        parsed = _action(head)
        if parsed is None:
            return None
        action, meta = parsed
        source = None
        if action != "delete":
            if at >= end:
                return None
            source = lines[at]
            at += 1
        items.append(_item(action, head, source, meta, index))
    return items


def _action(head: bytes) -> tuple[str, Mapping[str, Any]] | None:
    try:
        parsed = loads(head)
    except Unparsable:
        return None
    if not isinstance(parsed, dict) or len(parsed) != 1:
        return None
    action, meta = next(iter(parsed.items()))
    return (action, meta) if action in _ACTIONS and isinstance(meta, dict) else None


def _item(action: str, head: bytes, source: bytes | None, meta: Mapping[str, Any], index: str | None) -> BulkItem:
    return BulkItem(
        action=action,
        head=head,
        source=source,
        index=_text(meta.get("_index")) or index,
        id=_text(meta.get("_id")),
        pipeline=_text(meta.get("pipeline")),
        routing=_text(meta.get("routing", meta.get("_routing"))),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def write_bulk(items: Sequence[BulkItem], sources: Mapping[int, bytes], left_out: Mapping[int, BridgeError]) -> bytes:
    """The body to send: `sources` replace documents by place, items in `left_out` are not sent."""
    lines = []
    for place, item in enumerate(items):
        if place in left_out:
            continue
        lines.append(item.head)
        source = sources.get(place, item.source)
        if source is not None:
            lines.append(source)
    return b"\n".join([*lines, b""]) if lines else b""


def error_result(item: BulkItem, error: BridgeError) -> dict[str, Any]:
    """How a failed item looks in the answer."""
    body = error_body(error)
    cause = body.get("error") if isinstance(body, dict) else None
    if isinstance(cause, dict):
        cause = {key: value for key, value in cause.items() if key != "root_cause"}
    else:
        cause = {"type": error.kind, "reason": error.reason}
    return {item.action: {"_index": item.index, "_id": item.id, "status": status_of(error), "error": cause}}
