"""One request on its way: to the lane it takes, and its answer back, streamed both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from bridge.proxy.front import answers
from bridge.proxy.front.connection import Failure, ResponseHead, UpstreamConnection
from bridge.proxy.front.context import Context
from bridge.proxy.front.heads import RequestHead
from bridge.proxy.front.lanes import UNSCANNED, Choice, Lane, after_scan
from bridge.proxy.front.pool import Pool, Unreachable

_REPEATABLE = frozenset((b"GET", b"HEAD"))
_JOINED = 65_536
_SURELY_SHORT = 2_048


class Client(Protocol):
    """The connection that a request came on."""

    peer: bytes

    @property
    def full(self) -> bool: ...
    def send(self, data: bytes) -> None: ...
    def hold(self, held: bool) -> None: ...
    def finished(self, *, keep: bool) -> None: ...


class Exchange:
    """Born with a request's head, over with the last byte of its answer or with the client's leaving.

    The client connection feeds `body` and calls `abandon`; everything else comes from the upstream connection.
    """

    __slots__ = (
        "_added", "_body_done", "_choice", "_client", "_connecting", "_context", "_framed", "_gathered", "_going",
        "_head", "_keep", "_lane", "_long_head", "_scanning", "_sent", "_size", "_started", "_status",
        "_table_version", "_upstream", "deadline", "over",
    )  # fmt: skip

    def __init__(self, context: Context, client: Client, head: RequestHead, choice: Choice) -> None:
        self._context = context
        self._client = client
        self._head = head
        self._choice = choice
        self._lane = choice.lane
        self._table_version = context.table.current().version if choice.learns is not None else -1
        self._upstream: UpstreamConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._gathered: bytes | bytearray = b""
        self._size = 0
        self._scanning = choice.lane is Lane.SCAN
        self._body_done = not head.has_body
        self._going = False
        self._sent = False
        self._started = False
        self._keep = True
        self._long_head = False
        self._framed = False
        self._status = 0
        self._added = context.clock() if context.counts.sampled() else -1.0
        self.deadline = 0.0
        self.over = False

    # from the client

    def start(self) -> None:
        """Go to the lane, or wait for the body when that decides it. A body that is here already may come first."""
        if self._going:
            return
        if self._scanning:
            context = self._context
            expected = self._head.length or 0
            if expected > context.config.limits.scanned_body or context.scanning > context.scanning_limit:
                self._scanning = False
                self._choose(UNSCANNED)
        if not self._scanning:
            self._connect(fresh=False)

    def body(self, pieces: list[bytes], done: bool) -> None:
        """The next pieces of the body, already free of their framing; `done` with the last."""
        self._body_done = done
        if self._scanning:
            self._scan(pieces, done)
        elif self._sent and self._upstream is not None:
            self._write(self._encode(pieces, done))
        elif not self.over:
            self._gather(pieces)
            if self._size > _JOINED:
                self._client.hold(True)

    def abandon(self) -> None:
        """The client has gone, or its request turned out to be malformed: the origin must not go on with it."""
        self._end()

    def expired(self) -> None:
        """The deadline has passed without the answer, or the rest of it."""
        self.failed(Failure.TIMEOUT)

    def client_full(self, full: bool) -> None:
        """The client reads slowly: let the origin wait."""
        if self._upstream is None:
            return
        if full:
            self._upstream.pause()
        else:
            self._upstream.resume()

    @property
    def body_done(self) -> bool:
        return self._body_done

    @property
    def started(self) -> bool:
        return self._started

    # from the upstream connection

    def interim(self, head: ResponseHead) -> None:
        if self._head.minor:
            self._client.send(answers.response_head(head, minor=1, keep=True, framed=False))

    def answer(self, head: ResponseHead | None, pieces: list[bytes], ended: bool) -> None:
        context = self._context
        now = context.clock()
        self.deadline = now + context.config.timeouts.response
        if head is not None:
            data = self._open(head)
            if pieces or ended:
                data += self._frame(pieces, ended)
        else:
            data = self._frame(pieces, ended)
        if data:
            self._client.send(data)
        if head is not None and self._added >= 0:
            context.counts.added(self._lane.value, self._added + context.clock() - now)
        if ended:
            self._complete()

    def failed(self, failure: Failure) -> None:
        if self.over:
            return
        upstream, self._upstream = self._upstream, None
        if failure is Failure.RESET and upstream is not None and upstream.reused and self._repeatable():
            self._connect(fresh=True)
            return
        if self._choice.spare and self._lane is Lane.SLOW and failure in (Failure.REFUSED, Failure.CONNECT_TIMEOUT):
            self._lane = Lane.FAST
            self._connect(fresh=False)
            return
        self._end(upstream)
        self._context.counts.failed(f"{self._lane.value}_{failure.value}")
        if self._started:
            # The head has gone out: only the connection's end can tell that this is not all.
            self._count(self._status)
            self._client.finished(keep=False)
            return
        keep = self._body_done and self._head.keep_alive and not self._context.draining
        self._client.send(self._failure_answer(failure, close=not keep))
        self._client.finished(keep=keep)

    def upstream_full(self, full: bool) -> None:
        self._client.hold(full)

    # the way there

    def _scan(self, pieces: list[bytes], done: bool) -> None:
        context = self._context
        limit = context.config.limits.scanned_body
        before = self._size
        self._gather(pieces)
        context.scanning += self._size - before
        if done and self._size <= limit:
            self._choose(after_scan(self._head, context.table.current(), self._gathered, limit, self._choice))
        elif self._size > limit:
            self._choose(UNSCANNED)
        else:
            return
        self._stop_scanning()
        self._connect(fresh=False)

    def _choose(self, choice: Choice) -> None:
        self._choice, self._lane = choice, choice.lane

    def _stop_scanning(self) -> None:
        if self._scanning:
            self._scanning = False
            self._context.scanning -= self._size

    def _gather(self, pieces: list[bytes]) -> None:
        if not self._size and len(pieces) == 1:
            # The usual case, a body that came in one read, is not copied.
            self._gathered = pieces[0]
        else:
            # Bytes, not pieces: a body of tiny chunks would weigh many times its size as a list.
            gathered = self._gathered
            if isinstance(gathered, bytes):
                gathered = self._gathered = bytearray(gathered)
            for piece in pieces:
                gathered += piece
        self._size = len(self._gathered)

    def _pool(self) -> Pool:
        return self._context.cluster if self._lane is Lane.FAST else self._context.application

    def _connect(self, *, fresh: bool) -> None:
        context = self._context
        self._going = True
        timeouts = context.config.timeouts
        wait = timeouts.health if self._lane is Lane.HEALTH else timeouts.response
        self.deadline = context.clock() + wait
        upstream = None if fresh else self._pool().idle()
        if upstream is None:
            self._connecting = context.background.start(self._connect_fresh(), name="front.connect")
        else:
            self._attach(upstream)

    async def _connect_fresh(self) -> None:
        pool = self._pool()
        try:
            upstream = await pool.connect()
        except Unreachable as error:
            self._connecting = None
            self.failed(error.failure)
            return
        self._connecting = None
        self._attach(upstream)

    def _attach(self, upstream: UpstreamConnection) -> None:
        head = self._head
        self._upstream = upstream
        upstream.begin(self, head_only=head.method == b"HEAD")
        if self._lane is Lane.FAST:
            data = answers.request_head(head, upstream.host, b"")
        else:
            data = answers.request_head(head, b"", self._context.internal_headers(self._client.peer))
        self._long_head = len(data) > _SURELY_SHORT
        if head.has_body:
            data += self._encode([self._gathered], self._body_done)
            self._gathered = b""
        self._sent = True
        if self._added >= 0:
            self._added = self._context.clock() - self._added
        if not self._body_done:
            # Before the write: that one may be what fills the upstream connection and holds the client again.
            self._client.hold(False)
        self._write(data)
        if self._client.full:
            # What an earlier answer on this connection filled.
            upstream.pause()

    def _write(self, data: bytes | bytearray) -> None:
        if data and self._upstream is not None:
            self._upstream.write(data)

    def _encode(self, pieces: Sequence[bytes | bytearray], done: bool) -> bytes | bytearray:
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._head.chunked:
            return body
        framed = b"%x\r\n%b\r\n" % (len(body), bytes(body)) if body else b""
        return framed + b"0\r\n\r\n" if done else framed

    def _repeatable(self) -> bool:
        return self._head.method in _REPEATABLE and not self._head.has_body

    # the way back

    def _open(self, head: ResponseHead) -> bytes:
        self._started = True
        self._status = head.status
        minor = self._head.minor
        bodiless = self._head.method == b"HEAD" or head.status in (204, 304)
        endless = head.length is None and not head.chunked and not bodiless
        self._framed = (head.chunked or endless) and minor == 1 and not bodiless
        unframed = (head.chunked or endless) and not self._framed and not bodiless
        self._keep = self._head.keep_alive and self._body_done and not unframed and not self._context.draining
        if head.clear is not None:
            self._learn(head.clear)
        return answers.response_head(head, minor=minor, keep=self._keep, framed=self._framed)

    def _learn(self, seconds: bytes) -> None:
        if self._choice.learns is None or self._lane is not Lane.SLOW:
            return
        try:
            self._context.verdicts.learn(self._choice.learns, float(seconds), self._table_version)
        except ValueError:
            return

    def _frame(self, pieces: list[bytes], ended: bool) -> bytes:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._framed:
            return data
        if data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        return data + b"0\r\n\r\n" if ended else data

    def _complete(self) -> None:
        upstream, self._upstream = self._upstream, None
        self.over = True
        self._count(self._status)
        if upstream is not None:
            upstream.release(reusable=self._body_done and not self._decoder_broken())
        self._client.finished(keep=self._keep)

    def _decoder_broken(self) -> bool:
        # A cluster that finds a head too long answers 400, keeps the connection and never reads another request of it.
        return self._status in (413, 431) or (self._status == 400 and self._long_head)

    def _failure_answer(self, failure: Failure, *, close: bool) -> bytes:
        head_only = self._head.method == b"HEAD"
        if self._lane is Lane.FAST:
            data = answers.unreachable(failure, close=close, head_only=head_only)
        elif self._lane is Lane.HEALTH:
            data = answers.not_ready(close=close, head_only=head_only)
        elif failure is Failure.TIMEOUT:
            reason = "the bridge's application process gave no answer in time"
            data = answers.error(504, "gateway_timeout_exception", reason, close=close, head_only=head_only)
        else:
            data = answers.application_gone(close=close, head_only=head_only)
        self._count(int(data[9:12]))
        return data

    def _count(self, status: int) -> None:
        self._context.counts.finished(self._lane.value, status)

    def _end(self, upstream: UpstreamConnection | None = None) -> None:
        self.over = True
        self._stop_scanning()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        for connection in (upstream, self._upstream):
            if connection is not None:
                connection.abort()
        self._upstream = None
        self._gathered = b""
