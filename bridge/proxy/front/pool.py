"""Kept connections to the nodes of a cluster (or to the application), chosen in turn."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.proxy.front.breaker import Breaker
from bridge.proxy.front.connection import Failure, UpstreamConnection


class Unreachable(Exception):
    """No origin could be connected to; `failure` is the last one's reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Address:
    """Where an origin listens: a UNIX socket's `path`, or `host` and `port`, with TLS when `tls` is set."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None

    @classmethod
    def from_url(cls, url: str, tls: ssl.SSLContext | None) -> Address:
        """Raises ValueError for anything but `http(s)://host[:port]`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(f"not the URL of a cluster node: {url}")
        secure = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if secure else 9200), "", tls if secure else None)

    @property
    def header(self) -> bytes:
        """The value of Host for this origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()


class Origin:
    """One node: its breaker and its idle connections, the one used last first."""

    def __init__(self, address: Address, breaker: Breaker, keep: int) -> None:
        self._address = address
        self._keep = keep
        self._idle: list[UpstreamConnection] = []
        self._all: set[UpstreamConnection] = set()
        self._clock = time.monotonic
        self.breaker = breaker
        self.host = address.header

    def take(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        return None

    async def connect(self, within: float) -> UpstreamConnection:
        """Raises OSError (TimeoutError included)."""
        loop = asyncio.get_running_loop()
        where = self._address
        async with asyncio.timeout(within):
            if where.path:
                _, made = await loop.create_unix_connection(self._made, where.path)
            else:
                name = where.host if where.tls else None
                transport, made = await loop.create_connection(
                    self._made, where.host, where.port, ssl=where.tls, server_hostname=name
                )
                _keep_probing(transport)
        made.host = self.host
        return made

    def _made(self) -> UpstreamConnection:
        connection = UpstreamConnection(self)
        self._all.add(connection)
        return connection

    def connection_idle(self, connection: UpstreamConnection) -> None:
        if len(self._idle) >= self._keep:
            connection.abort()
            return
        connection.idle_since = self._clock()
        self._idle.append(connection)

    def connection_gone(self, connection: UpstreamConnection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def answered(self) -> None:
        self.breaker.succeeded()

    def broke(self) -> None:
        self.breaker.failed()

    def expire(self, before: float) -> None:
        """Close connections idle since before the time `before` of the loop."""
        while self._idle and self._idle[0].idle_since < before:
            self._idle.pop(0).abort()

    def close(self) -> None:
        for connection in list(self._all):
            connection.abort()


class Pool:
    """The origins in turn; one whose breaker is open is passed over."""

    def __init__(self, origins: list[Origin], connect_timeout: float) -> None:
        if not origins:
            raise ValueError("at least one origin is needed")
        self.origins = origins
        self._connect_timeout = connect_timeout
        self._turn = 0

    def idle(self) -> UpstreamConnection | None:
        """An idle connection to the origin whose turn it is, else None."""
        origins = self.origins
        if len(origins) == 1:
            only = origins[0]
            return only.take() if not only.breaker.is_open else None
        for _ in origins:
            self._turn = (self._turn + 1) % len(origins)
            origin = origins[self._turn]
            if not origin.breaker.is_open:
                return origin.take()
        return None

    async def connect(self) -> UpstreamConnection:
        """A fresh connection; nothing was sent yet, so each origin gets its try. Raises Unreachable."""
        failure = Failure.OPEN
        start = self._turn
        for step in range(len(self.origins)):
            origin = self.origins[(start + step) % len(self.origins)]
            if not origin.breaker.allows():
                continue
            try:
                return await origin.connect(self._connect_timeout)
            except TimeoutError:
                failure = Failure.CONNECT_TIMEOUT
            except OSError:
                failure = Failure.REFUSED
            origin.breaker.failed()
        raise Unreachable(failure)

    def expire(self, before: float) -> None:
        for origin in self.origins:
            origin.expire(before)

    def close(self) -> None:
        for origin in self.origins:
            origin.close()


def _keep_probing(transport: asyncio.BaseTransport) -> None:
    """A node that lost power sends no FIN: TCP keep-alive finds it within a minute."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
