"""What OpenSearch's parser says of malformed JSON.

The rules and the words are those of Jackson's `UTF8StreamJsonParser` 2.21 with what OpenSearch's `JsonXContent` sets:
comments are allowed, a field given twice is not. Where it is odd (a multi-byte character after a literal, the bytes it
names of a broken field name), this is odd in the same way. Columns count bytes.

What the cluster accepts is no fault here, even where the bridge's own parsers refuse it (comments, half a surrogate
pair in a text, more values after the first).
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.json_fault.grammar import MOST_BYTES, MOST_TOKENS, SOURCE, source
from bridge.json_fault.scan import Found, Scan

__all__ = ["MOST_BYTES", "MOST_TOKENS", "SOURCE", "Fault", "fault_of"]


@dataclass(frozen=True)
class Fault:
    """`reason` and `kind` are what the cluster answers as `error.reason` and `error.type`."""

    reason: str
    kind: str


def fault_of(data: bytes) -> Fault | None:
    """The first fault in a body that a faster parser has refused; None when the cluster's parser finds none, for
    UTF-16 and UTF-32, which the cluster reads otherwise, and where the fault comes too late (MOST_TOKENS)."""
    wide = len(data) > 1 and (0 in data[:2] or data[:2] in (b"\xfe\xff", b"\xff\xfe"))
    if wide or len(data) > MOST_BYTES:
        return None
    try:
        Scan(data, 3 if data.startswith(b"\xef\xbb\xbf") and len(data) > 3 else 0).run()
    except Found as found:
        where = "" if found.at is None else f"\n at {source(data, found.at, found.seen or 0)}"
        # A half of a surrogate pair could not be sent to anybody.
        reason = (found.reason + where).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Fault(reason, found.kind)
    return None
