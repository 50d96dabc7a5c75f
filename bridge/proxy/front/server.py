"""A running front: listening sockets, the sweep over deadlines, and the drain."""

from __future__ import annotations

import asyncio
import socket

from bridge.proxy.front.client import ClientConnection
from bridge.proxy.front.config import FrontConfig, server_context
from bridge.proxy.front.context import Context
from bridge.proxy.front.counting import Counts
from bridge.proxy.front.door import emptied

_EMPTYING = 1.0


class Front:
    """`start`, then `drain`; `context` is what tests look into."""

    def __init__(self, config: FrontConfig, counts: Counts | None = None) -> None:
        self._config = config
        self._counts = counts or Counts()
        self._servers: list[asyncio.Server] = []
        self._doors: list[int] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        timeouts = config.timeouts
        shortest = min(timeouts.head, timeouts.body, timeouts.keep_alive, timeouts.health, timeouts.linger)
        self._every = min(1.0, max(0.01, shortest / 4))
        self.context: Context

    async def start(self, sockets: list[socket.socket]) -> None:
        """Serve on listening sockets, with TLS if the configuration says so. Raises OSError, ssl.SSLError."""
        self.context = Context(self._config, self._counts)
        tls = server_context(self._config.server_tls) if self._config.server_tls else None
        loop = asyncio.get_running_loop()
        for sock in sockets:
            server = await loop.create_server(
                lambda: ClientConnection(self.context),
                sock=sock,
                ssl=tls,
                backlog=4096,
                ssl_handshake_timeout=self._config.timeouts.head if tls else None,
            )
            self._servers.append(server)
            self._doors.append(sock.fileno())
        self._sweep()

    async def drain(self) -> None:
        """Stop taking connections, answer what is in flight, close the rest; ends within the grace."""
        timeouts = self._config.timeouts
        context = self.context
        context.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + timeouts.grace
        await asyncio.sleep(timeouts.drain_delay)
        # Bounded: where another front goes on at the same door, there is no end of those who come.
        await emptied(self._doors, min(_EMPTYING, timeouts.grace))
        for server in self._servers:
            server.close()
        # A kept connection may carry a request at this very moment: only one that stays silent is closed unasked.
        silent = min(loop.time() + timeouts.drain_idle, end)
        while context.clients and loop.time() < end:
            if loop.time() >= silent:
                for client in list(context.clients):
                    client.close_idle()
            await asyncio.sleep(0.02)
        for client in list(context.clients):
            client.abort()
        await self.close()

    async def close(self) -> None:
        """Drop everything at once."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for server in self._servers:
            server.close()
        for client in list(self.context.clients):
            client.abort()
        await asyncio.sleep(0)
        await self.context.close()
        self._counts.flush()

    def _sweep(self) -> None:
        context = self.context
        now = context.clock()
        for client in list(context.clients):
            client.expire(now)
        idle = now - self._config.timeouts.upstream_idle
        context.cluster.expire(idle)
        context.application.expire(idle)
        if now - self._flushed >= 1.0:
            self._flushed = now
            self._counts.flush()
        self._sweeping = asyncio.get_running_loop().call_later(self._every, self._sweep)
