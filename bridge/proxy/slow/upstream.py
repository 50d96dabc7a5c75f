"""The way from the slow lane to the cluster, under the caller's own name: never with the bridge's credentials."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bridge.errors import ClusterUnavailable, TooLarge
from bridge.wire import loads_exact

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    )
)
# The server side of aiohttp has inflated the body, so its coding and length are no longer true.
_OF_THE_BODY = frozenset(("content-length", "content-encoding"))
_OURS = ("host", "expect")
_JSON = "application/json; charset=UTF-8"
_BLOCK = 262_144
_ADDED = ("server", "date", "content-type")


class PassedOn(web.StreamResponse):
    """An answer of the cluster on its way to the client; it keeps to the headers that came with it."""

    passed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reply:
    """A whole answer of the cluster, its body not compressed."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:
        """Raises Unparsable."""
        return loads_exact(self.body)


class Upstream:
    """A pool of connections to one cluster. `tls` must not hold the bridge's own client certificate.

    `read_seconds` is the longest silence of the cluster that is waited for.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = 10.0,
        read_seconds: float = 300.0,
        connections: int = 512,
    ) -> None:
        self._bases = [url.rstrip("/") for url in urls]
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=read_seconds)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._turn = 0

    async def close(self) -> None:
        """Close all connections; the next request would open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> Reply:
        """Send one request and read the whole answer. `target` is a raw path with its query.

        Raises ClusterUnavailable.
        """
        sent = CIMultiDict(headers)
        sent["Accept-Encoding"] = "identity"
        try:
            async with await self._send(method, target, sent, body) as answer:
                return Reply(answer.status, _answer_headers(answer, True), await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterUnavailable(f"The cluster did not answer: {type(error).__name__}") from error

    async def pass_on(
        self,
        request: web.Request,
        *,
        target: str | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> web.StreamResponse:
        """Send a client's request on and its answer back as it comes. Without `body` the client's own is streamed.

        `extra` are headers for the answer of a success. Raises ClusterUnavailable while nothing has been answered.
        """
        headers = sent_headers(request.headers, replaced=body is not None, content_type=content_type)
        data: bytes | AsyncIterator[bytes] | None = body
        if body is None and request.body_exists:
            data = request.content.iter_chunked(_BLOCK)
        try:
            answer = await self._send(request.method, target or request.raw_path, headers, data)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterUnavailable(f"The cluster did not answer: {type(error).__name__}") from error
        async with answer:
            return await _send_back(request, answer, extra or {})

    async def _send(self, method: str, target: str, headers: CIMultiDict[str], body: Any) -> aiohttp.ClientResponse:
        for left in range(len(self._bases) - 1, -1, -1):
            base = self._bases[self._turn % len(self._bases)]
            try:
                return await self._open().request(
                    method, URL(base + target, encoded=True), headers=headers, data=body, allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                )  # fmt: skip
            except aiohttp.ClientConnectorError:
                # Nothing was sent, so another node may be asked.
                self._turn += 1
                if not left:
                    raise
        raise ClusterUnavailable("No cluster address is configured.")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._tls if self._tls is not None else True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=65_536,
                max_field_size=65_536,
            )
        return self._session


def sent_headers(
    headers: Mapping[str, str], *, replaced: bool = False, content_type: str | None = None
) -> CIMultiDict[str]:
    """The caller's headers as they go to the cluster; `replaced` when the body is not the client's own bytes."""
    dropped = _HOP_BY_HOP.union(name.strip().lower() for name in headers.get("Connection", "").split(","))
    coded = "Content-Encoding" in headers
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        lower = name.lower()
        if lower in dropped or lower in _OURS or lower.startswith("x-bridge-"):
            continue
        if lower in _OF_THE_BODY and (replaced or coded):
            continue
        found.add(name, value)
    if content_type is not None:
        found["Content-Type"] = content_type
    return found


def _answer_headers(answer: aiohttp.ClientResponse, whole: bool) -> CIMultiDict[str]:
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower in _HOP_BY_HOP or (whole and lower in _OF_THE_BODY):
            continue
        found.add(name, value)
    return found


async def _send_back(
    request: web.Request, answer: aiohttp.ClientResponse, extra: Mapping[str, str]
) -> web.StreamResponse:
    response = PassedOn(status=answer.status, reason=answer.reason, headers=_answer_headers(answer, False))
    if answer.status < 400:
        response.headers.update(extra)
    response.passed = frozenset(name.lower() for name in response.headers)
    await response.prepare(request)
    try:
        async for block in answer.content.iter_any():
            await response.write(block)
    except (aiohttp.ClientError, TimeoutError):
        # The head is out: only a cut connection can tell the client that the answer is not whole.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def keep_headers(_: web.Request, response: web.StreamResponse) -> None:
    """A signal before an answer goes out: takes away what aiohttp adds to an answer of the cluster."""
    if isinstance(response, PassedOn):
        for name in _ADDED:
            if name not in response.passed:
                response.headers.popall(name, None)


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, inflated. Raises TooLarge beyond `limit` bytes."""
    blocks = []
    size = 0
    async for block in request.content.iter_chunked(_BLOCK):
        size += len(block)
        if size > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes.")
        blocks.append(block)
    return b"".join(blocks)


def json_answer(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer of our own, or one of the cluster's that we changed (then with its `headers`)."""
    response = web.Response(status=status, body=body, headers=headers)
    if headers is None or "Content-Type" not in headers:
        response.headers["Content-Type"] = _JSON
    return response


def reply_answer(reply: Reply) -> web.Response:
    """The cluster's whole answer as it is."""
    return json_answer(reply.status, reply.body, reply.headers)
