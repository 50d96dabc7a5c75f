"""One connection to a cluster node or to the application: sends one request at a time, parses the answer."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import NamedTuple, Protocol, cast

import httptools

_DROP, _CODING, _LENGTH, _CONNECTION, _INTERNAL = 1, 2, 3, 4, 5
_KINDS = {
    b"connection": _CONNECTION,
    b"keep-alive": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"upgrade": _DROP,
    b"http2-settings": _DROP,
    b"transfer-encoding": _CODING,
    b"content-length": _LENGTH,
    b"x-bridge-clear": _INTERNAL,
}
_seen: dict[bytes, int] = {}


class Failure(StrEnum):
    """Why an exchange with an origin ended without its answer."""

    OPEN = "breaker_open"
    REFUSED = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    RESET = "reset"
    CUT = "cut"
    MALFORMED = "malformed"
    TIMEOUT = "timeout"


class ResponseHead(NamedTuple):
    """An answer's head; `headers` without hop-by-hop ones, but with Transfer-Encoding in its place when `chunked`.

    `length` None and `chunked` False: the body ends with the connection. `clear` is the application's verdict.
    `built` keeps the head as it goes on to an ordinary client.
    """

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    chunked: bool
    clear: bytes | None
    built: list[bytes]


# Answers differ in little but their length: heads of whole answers, as llhttp read them, by their bytes.
_heads: dict[bytes, ResponseHead] = {}
_REMEMBERED, _REMEMBERED_BYTES = 4_096, 512


class Receiver(Protocol):
    """Who waits for an answer. `head` comes once, before or with the first `pieces`; `ended` with the last."""

    def interim(self, head: ResponseHead) -> None: ...
    def answer(self, head: ResponseHead | None, pieces: list[bytes], ended: bool) -> None: ...
    def failed(self, failure: Failure) -> None: ...
    def upstream_full(self, full: bool) -> None: ...


class Owner(Protocol):
    """The origin a connection belongs to."""

    def connection_idle(self, connection: UpstreamConnection) -> None: ...
    def connection_gone(self, connection: UpstreamConnection) -> None: ...
    def answered(self) -> None: ...
    def broke(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """A keep-alive connection; `reused` is true from the second request on."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._head_only = False
        self._closes = False
        self._extra = False
        self._paused = False
        self._interims = False
        self.idle_since = 0.0
        self.reused = False
        self.host = b""
        self._reset()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._length: int | None = None
        self._chunked = False
        self._clear: bytes | None = None
        self._head: ResponseHead | None = None
        self._delivered = False
        self._pieces: list[bytes] = []
        self._ended = False
        self._at_start = True

    # towards the exchange

    def begin(self, receiver: Receiver, *, head_only: bool) -> None:
        """Take the connection for one exchange."""
        self._receiver = receiver
        self._head_only = head_only

    def write(self, data: bytes | bytearray) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        """The exchange is over: back to the pool, or closed when either side may still hold bytes of it."""
        self._receiver = None
        if not reusable or self._closes or self._extra or not self.alive:
            self.abort()
            return
        if self._head_only:
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self._interims = False
        self.resume()
        self.reused = True
        self._owner.connection_idle(self)

    def abort(self) -> None:
        """Close at once; what was not sent yet is dropped, so the origin sees the request cut off."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._receiver is None:
            # Nobody asked: whatever this answers, it must not be taken for the next request's answer.
            self._extra = True
            self.abort()
            return
        raw = b""
        if self._head is None and not self._head_only and self._at_start:
            self._at_start = False
            end = data.find(b"\r\n\r\n") + 4
            raw = data[:end] if 3 < end <= _REMEMBERED_BYTES else b""
            known = _heads.get(raw)
            if known is not None and known.length == len(data) - end:
                # A head seen before and its whole body: the parser, idle between messages, need not see them.
                self._at_start = self._ended = True
                self._head = known
                self._pieces = [data[end:]]
                self._deliver()
                return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Failure.MALFORMED)
            return
        if self._head is not None:
            if raw and not self._delivered:
                self._remember(raw)
            self._deliver()

    def _remember(self, raw: bytes) -> None:
        head = self._head
        if head is None or not head.length or self._closes or self._extra or self._interims:
            return
        if head.status != 200 or head.clear is not None or head.chunked:
            return
        if len(_heads) >= _REMEMBERED:
            _heads.clear()
        _heads[raw] = head

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.connection_gone(self)
        if self._receiver is None:
            return
        if self._head is None and not self._headers and not self._reason:
            # A kept connection may always have been closed a moment ago: that says nothing about the origin.
            if not self.reused:
                self._owner.broke()
            self._fail(Failure.RESET)
        elif self._head is not None and self._head.length is None and not self._head.chunked and exc is None:
            self._closes = self._ended = True
            self._deliver()
        else:
            self._fail(Failure.CUT)

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_full(True)

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_full(False)

    def _deliver(self) -> None:
        receiver, pieces = self._receiver, self._pieces
        if receiver is None:
            return
        head = None
        if not self._delivered:
            head = self._head
            self._delivered = True
            self._owner.answered()
        self._pieces = []
        receiver.answer(head, pieces, self._ended)

    def _fail(self, failure: Failure) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.failed(failure)

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._ended:
            self._extra = True

    def on_status(self, reason: bytes) -> None:
        if not self._ended:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is not None:
            return
        kind = _seen.get(name)
        if kind is None:
            kind = _learn(name)
        if kind == 0:
            self._headers.append((name, value))
        else:
            self._special(kind, name, value)

    def _special(self, kind: int, name: bytes, value: bytes) -> None:
        if kind == _LENGTH:
            self._length = int(value)
            self._headers.append((name, value))
        elif kind == _CODING:
            self._chunked = value.lower() == b"chunked"
            self._headers.append((name, value))
        elif kind == _CONNECTION:
            self._closes = self._closes or b"close" in value.lower()
        elif kind == _INTERNAL:
            self._clear = value

    def on_headers_complete(self) -> None:
        if self._ended or self._head is not None:
            return
        status = self._parser.get_status_code()
        head = ResponseHead(status, self._reason, self._headers, self._length, self._chunked, self._clear, [])
        if status < 200:
            self._interim(head)
            return
        self._head = head
        if self._parser.get_http_version() == "1.0":
            self._closes = True
        if self._head_only or status in (204, 304):
            self._ended = True

    def _interim(self, head: ResponseHead) -> None:
        self._reset()
        self._at_start = False
        self._interims = True
        if head.status == 101:
            # Upgrade was taken out of the request: an origin that switches all the same is not to be followed.
            raise ValueError("unasked protocol switch")
        if self._receiver is not None and head.status != 100:
            self._receiver.interim(head)

    def on_body(self, data: bytes) -> None:
        if not self._ended:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._ended = True


def _learn(name: bytes) -> int:
    lower = name.lower()
    kind = _KINDS.get(lower, _DROP if lower.startswith((b"proxy-", b"x-bridge-")) else 0)
    # `Proxy-Authenticate` is end to end on the way back in practice, and harmless.
    if lower == b"proxy-authenticate":
        kind = 0
    if len(_seen) > 4096:
        _seen.clear()
    _seen[name] = kind
    return kind
