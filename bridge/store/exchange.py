"""One HTTP exchange with the cluster over opensearch-py's connections, its answer left as it came."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import yarl
from opensearchpy import AIOHttpConnection, AsyncTransport

Sign = Callable[[str, str, bytes | None, dict[str, str]], Any]
"""method, URL, body, headers -> awaitable of the headers to send."""


_LARGE = 1 << 20
"""Bytes from which on a body goes out piece by piece, so that writing it does not hold the event loop."""


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if body is not None and len(body) >= _LARGE else body


class ExchangeFailed(Exception):
    """No whole answer came. `unsent` is True when the request certainly never reached the cluster."""

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.unsent = unsent


@dataclass(frozen=True)
class Exchange:
    """What is sent; `path` is percent-encoded, `within` is seconds for the whole exchange."""

    method: str
    path: str
    params: Mapping[str, Any]
    body: bytes | None
    headers: Mapping[str, str]
    within: float


Raw = tuple[int, Mapping[str, str], bytes]
"""Status, headers and the whole body."""


class ExchangeConnection(AIOHttpConnection):  # type: ignore[misc]
    """opensearch-py's connection, giving bytes and headers, and error answers as answers.

    The library's own way decodes each body twice, which chunks of 13 MB make felt, logs every 404 and 409 as a
    warning, and turns deprecation headers into Python warnings.
    """

    session: aiohttp.ClientSession | None

    def __init__(self, *, sign: Sign | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._sign = sign

    async def exchange(self, asked: Exchange) -> Raw:
        """One try. Raises ExchangeFailed."""
        target = f"{self.host}{self.url_prefix}{asked.path}"
        if asked.params:
            target += "?" + urlencode(asked.params)
        sent = {**self.headers, **asked.headers}
        if self._sign is not None:
            sent = await self._sign(asked.method, target, asked.body, sent)
        if self.session is None:
            self.session = self._open()
        limit = aiohttp.ClientTimeout(total=asked.within, sock_connect=min(10.0, asked.within))
        url = yarl.URL(target, encoded=True)
        try:
            async with self.session.request(
                asked.method, url, data=_payload(asked.body), headers=sent, timeout=limit, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers, await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise ExchangeFailed(_words(error), unsent=True) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ExchangeFailed(_words(error), unsent=False) from error

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._limit, ssl=self._ssl_context or True)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding"),
            trust_env=False,
        )
        # aiohttp would send a PUT or DELETE again, unasked, when a kept connection breaks: the answer would then be a
        # conflict with our own write, and nobody could tell.
        session._retry_connection = False
        return session


class ExchangeTransport(AsyncTransport):  # type: ignore[misc]
    """opensearch-py's pool of connections (dead ones rest for a while), without its retries and decoding."""

    async def exchange(self, asked: Exchange) -> Raw:
        """One try on one connection. Raises ExchangeFailed."""
        await self._async_call()
        connection: ExchangeConnection = self.get_connection()
        try:
            answer = await connection.exchange(asked)
        except ExchangeFailed:
            self.mark_dead(connection)
            raise
        self.connection_pool.mark_live(connection)
        return answer

    async def close(self) -> None:
        """Close all connections, those too that rest as dead, which the library's own way forgets."""
        await super().close()
        for connection in self.seed_connections:
            await connection.close()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
