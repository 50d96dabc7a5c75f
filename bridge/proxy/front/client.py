"""One client connection: cuts its bytes into requests, one exchange at a time, answers in order."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import cast

from bridge.proxy.front import answers
from bridge.proxy.front.chunks import ChunkReader
from bridge.proxy.front.context import Context
from bridge.proxy.front.exchange import Exchange
from bridge.proxy.front.heads import BadRequest, RequestHead
from bridge.proxy.front.lanes import choose


class Phase(Enum):
    """What the bytes that come next are."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    LINGER = "linger"


class ClientConnection(asyncio.Protocol):
    """Limits and deadlines of a connection live here; `expire` is called by the process's sweep."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._phase = Phase.HEAD
        self._buffer = b""
        self._searched = 0
        self._exchange: Exchange | None = None
        self._chunks: ChunkReader | None = None
        self._left = 0
        self._taken = 0
        self._held = False
        self._paused = False
        self._advancing = False
        self._full_since = 0.0
        self._fresh = True
        self.deadline = context.clock() + context.config.timeouts.head
        self.peer = b""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]).encode() if isinstance(address, tuple) else b""
        context = self._context
        context.clients.add(self)
        context.counts.connections = len(context.clients)
        if len(context.clients) > context.config.limits.connections:
            reason = "the bridge has too many client connections"
            self._refuse(answers.error(503, "too_many_connections_exception", reason, close=True, retry=True))

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.LINGER:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._advancing:
            self._advance()

    def eof_received(self) -> bool:
        # A client that has closed can't be told from one that only ended its sending side.
        if self._exchange is not None:
            self._abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer = b""
        context = self._context
        context.clients.discard(self)
        context.counts.connections = len(context.clients)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()

    def pause_writing(self) -> None:
        self._full_since = self._context.clock()
        if self._exchange is not None:
            self._exchange.client_full(True)

    def resume_writing(self) -> None:
        self._full_since = 0.0
        if self._exchange is not None:
            self._exchange.client_full(False)

    # from the exchange

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def hold(self, held: bool) -> None:
        """Stop or go on reading the request's body: the other side is slower."""
        if held is not self._held:
            self._held = held
            self._steer()
            if not held and self._phase is Phase.BODY:
                self.deadline = self._context.clock() + self._context.config.timeouts.body

    def finished(self, *, keep: bool) -> None:
        """The answer is out; `keep` False ends the connection."""
        self._exchange = None
        self._chunks = None
        if not keep:
            self._close()
            return
        self._phase = Phase.HEAD
        self._searched = 0
        self._fresh = False
        self.hold(False)
        self.deadline = self._context.clock() + self._context.config.timeouts.keep_alive
        if self._buffer and not self._advancing:
            asyncio.get_running_loop().call_soon(self._resume)

    # from the process

    def expire(self, now: float) -> None:
        """A deadline of this connection, or of its exchange, may have passed."""
        exchange = self._exchange
        stalled = self._context.config.timeouts.client_stalled
        if self._full_since and now - self._full_since > stalled and self._transport is not None:
            self._transport.abort()
        elif self._phase is Phase.BODY and not self._held and now > self.deadline:
            self._time_out()
        elif exchange is not None and exchange.deadline and now > exchange.deadline:
            if self._full_since == 0.0 and not (self._phase is Phase.BODY and not self._held):
                exchange.expired()
        elif self._phase is Phase.HEAD and now > self.deadline:
            if self._buffer:
                self._time_out()
            else:
                self._abort()
        elif self._phase is Phase.LINGER and now > self.deadline:
            self._abort()

    @property
    def full(self) -> bool:
        """More is waiting to be read by the client than should."""
        return self._full_since > 0.0

    @property
    def idle(self) -> bool:
        return self._phase is Phase.HEAD and not self._buffer and self._exchange is None

    @property
    def is_fresh(self) -> bool:
        """Nothing was ever asked on this connection."""
        return self._fresh and self.idle

    def close_idle(self) -> None:
        if self.idle and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self._abort()

    # requests

    def _resume(self) -> None:
        if self._transport is not None and self._phase is Phase.HEAD and self._buffer:
            self._advance()

    def _advance(self) -> None:
        self._advancing = True
        try:
            while self._buffer and self._step():
                pass
        except BadRequest as refusal:
            self._reject(refusal)
        finally:
            self._advancing = False
        self._steer()

    def _step(self) -> bool:
        if self._phase is Phase.HEAD:
            return self._read_head()
        if self._phase is Phase.BODY:
            self._read_body()
            return True
        return False

    def _read_head(self) -> bool:
        buffer = self._buffer
        if self._searched == 0:
            if buffer.startswith(b"\r\n"):
                # Some clients send a line end too many after a body.
                buffer = self._buffer = buffer[2:]
                if not buffer:
                    return False
            if not self._fresh:
                self.deadline = self._context.clock() + self._context.config.timeouts.head
        end = buffer.find(b"\r\n\r\n", max(self._searched - 3, 0))
        if end < 0:
            self._context.heads.check_partial(buffer)
            self._searched = len(buffer)
            return False
        if end + 4 == len(buffer):
            raw, self._buffer = buffer, b""
        else:
            raw, self._buffer = buffer[: end + 4], buffer[end + 4 :]
        self._begin(self._context.heads.parse(raw))
        return True

    def _begin(self, head: RequestHead) -> None:
        context = self._context
        if head.length and head.length > context.config.limits.body:
            self._refuse(answers.TOO_LARGE)
            return
        exchange = Exchange(context, self, head, choose(head, context.table.current(), context.verdicts))
        self._exchange = exchange
        self._taken = 0
        if head.has_body:
            self._phase = Phase.BODY
            self._chunks = ChunkReader() if head.chunked else None
            self._left = head.length or 0
            self.deadline = context.clock() + context.config.timeouts.body
            if head.expects and not self._buffer:
                self.send(answers.CONTINUE)
        else:
            self._phase = Phase.ANSWER
        whole = self._chunks is None and 0 < self._left <= len(self._buffer)
        if whole:
            # The body is here already: one write for head and body.
            self._read_body()
        if not exchange.over:
            exchange.start()

    def _read_body(self) -> None:
        pieces, done = self._cut()
        exchange = self._exchange
        if self._taken > self._context.config.limits.body:
            self._give_up(answers.TOO_LARGE)
            return
        if done:
            self._phase = Phase.ANSWER
        else:
            self.deadline = self._context.clock() + self._context.config.timeouts.body
        if exchange is not None and (pieces or done):
            exchange.body(pieces, done)

    def _cut(self) -> tuple[list[bytes], bool]:
        data, self._buffer = self._buffer, b""
        if self._chunks is not None:
            pieces = self._chunks.feed(data)
            self._taken += sum(map(len, pieces))
            if self._chunks.done:
                self._buffer = self._chunks.rest
            return pieces, self._chunks.done
        if len(data) > self._left:
            data, self._buffer = data[: self._left], data[self._left :]
        self._left -= len(data)
        return [data], self._left == 0

    # refusals and endings

    def _reject(self, refusal: BadRequest) -> None:
        self._context.counts.finished("front", refusal.status)
        self._give_up(answers.refused(refusal))

    def _time_out(self) -> None:
        reason = "the request did not arrive in time"
        self._give_up(answers.error(408, "request_timeout_exception", reason, close=True))

    def _give_up(self, answer: bytes) -> None:
        """End a request whose rest is not wanted; its answer may already be on the way."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            started = exchange.started
            exchange.abandon()
            if started:
                self._close()
                return
        self._refuse(answer)

    def _refuse(self, answer: bytes) -> None:
        self.send(answer)
        self._close()

    def _close(self) -> None:
        """Close for writing, and read on for a moment: closing over unread bytes would send a reset, and that can
        overtake the answer."""
        transport = self._transport
        if transport is None:
            return
        unread = bool(self._buffer) or self._phase in (Phase.BODY, Phase.HEAD)
        self._phase = Phase.LINGER
        self._buffer = b""
        self._held = False
        self._steer()
        if not unread:
            transport.close()
            return
        self.deadline = self._context.clock() + self._context.config.timeouts.linger
        if transport.can_write_eof():
            transport.write_eof()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _steer(self) -> None:
        """Read, unless the exchange holds us or a client sends requests faster than it is answered."""
        crowded = self._phase is Phase.ANSWER and len(self._buffer) > self._context.config.limits.pipelined
        paused = self._held or crowded
        transport = self._transport
        if paused is self._paused or transport is None or transport.is_closing():
            return
        self._paused = paused
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()
