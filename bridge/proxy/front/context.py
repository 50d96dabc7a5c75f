"""What all connections of a front process share."""

from __future__ import annotations

import time
from typing import Protocol

from bridge.background import Background
from bridge.proxy.front.breaker import Breaker
from bridge.proxy.front.config import FrontConfig, client_context
from bridge.proxy.front.counting import Counts
from bridge.proxy.front.heads import HeadReader
from bridge.proxy.front.pool import Address, Origin, Pool
from bridge.proxy.front.table import TableReader
from bridge.proxy.front.verdicts import Verdicts

_SCANNING_LIMIT = 268_435_456


class Client(Protocol):
    """A client's connection, as those see it who end connections."""

    def expire(self, now: float) -> None:
        """End it if its time is over."""

    def close_idle(self) -> None:
        """End it unless a request is under way."""

    def abort(self) -> None:
        """End it at once."""


class Context:
    """Built inside the running loop. `scanning` is the number of bytes held back in bodies that are being scanned;
    above `scanning_limit` further ones go to the application unscanned."""

    def __init__(self, config: FrontConfig, counts: Counts) -> None:
        self.config = config
        self.counts = counts
        self.clock = time.monotonic
        self.background = Background()
        self.heads = HeadReader(config.limits, trust_forwarded=config.trust_forwarded, pass_tenant=config.pass_tenant)
        self.table = TableReader(config.run_dir)
        self.verdicts = Verdicts(self.clock)
        self.cluster = self._cluster_pool()
        self.application = self._application_pool()
        self.clients: set[Client] = set()
        self.draining = False
        self.scanning = 0
        self.scanning_limit = _SCANNING_LIMIT
        self._scheme = b"https" if config.server_tls else b"http"

    def internal_headers(self, peer: bytes) -> bytes:
        """What only the application is told: where the client is, and how it came."""
        return b"x-bridge-client: %b\r\nx-bridge-scheme: %b\r\n" % (peer, self._scheme)

    async def close(self) -> None:
        self.cluster.close()
        self.application.close()
        self.table.close()
        await self.background.close()

    def _cluster_pool(self) -> Pool:
        config = self.config
        secure = any(url.startswith("https:") for url in config.upstreams)
        tls = client_context(config.upstream_tls) if secure else None
        addresses = [Address.from_url(url, tls) for url in config.upstreams]
        origins = [
            Origin(address, Breaker(config.breaker_failures, config.breaker_open, self.clock), config.idle_upstreams)
            for address in addresses
        ]
        return Pool(origins, config.timeouts.connect)

    def _application_pool(self) -> Pool:
        # Never passed over: a connect to a local socket fails at once, and the application may be back the next moment.
        breaker = Breaker(2**31, 0.0, self.clock)
        origin = Origin(Address(path=self.config.application), breaker, self.config.idle_upstreams)
        return Pool([origin], self.config.timeouts.application_connect)
