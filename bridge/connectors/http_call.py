"""One HTTP call to a model's service: checked addresses, no redirects, bounded in time, size and number."""

from __future__ import annotations

import asyncio
import random
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from yarl import URL

from bridge.connectors.addresses import CheckedResolver, literal, refuse_private, unknown_host
from bridge.connectors.definition import client_config
from bridge.domain.cluster_settings import CurrentSettings
from bridge.errors import InvalidRequest, RemoteServiceError, TooManyRequests

MAX_ANSWER_BYTES = 100_000_000
"""The largest answer that is read, as `max_json_size` of ML Commons."""
METHODS = ("POST", "GET", "PUT", "DELETE")
_SHOWN_BYTES = 65_536
"""So much of an error answer is passed on."""
_KEPT_CONNECTORS = 1000
_WAITING_FOR_ONE_CONNECTION = 20
_THROTTLED = (
    "Error from remote service: The request was denied due to remote server throttling. To change the retry policy and"
    " behavior, please update the connector client_config."
)
_ILLEGAL = re.compile(r'[\x00-\x20\x7f"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})')
"""What Java's URI refuses anywhere; others, beyond ASCII, are percent-encoded."""
_BRACKET = re.compile(r"[^:/?#]+://[^/?#]*/[^?#\[\]]*[\[\]]")
"""Up to a bracket in the path; a host and a query may hold them."""
_NOTHING_ADDED = ("User-Agent", "Accept", "Accept-Encoding")


class Throttled(RemoteServiceError):
    """The service said so in `x-amzn-ErrorType`: the one failure that is tried again."""

    default_kind = "remote_connector_throttling_exception"


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is sent; `connector_id` shares out the connector's connections."""

    connector_id: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    config: Mapping[str, Any]


class _Slots:
    """At most so many calls of one connector at a time, and a bounded number that wait."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._most = size * (1 + _WAITING_FOR_ONE_CONNECTION)
        self.size = size
        self.used = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        if self.used >= self._most:
            raise TooManyRequests("Too many calls wait for a connection of this connector")
        self.used += 1
        try:
            async with self._free:
                yield
        finally:
            self.used -= 1


class HttpCaller:
    """Sends calls; one for a process. `close` it at the end."""

    def __init__(self, settings: CurrentSettings, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._settings = settings
        self._max = max_answer_bytes
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}
        self._slots: OrderedDict[str, _Slots] = OrderedDict()

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    async def send(self, call: Call, *, deadline: float) -> tuple[int, bytes]:
        """The answer's status (2xx or 300) and body, within `deadline` seconds, waiting and retries included.

        Raises InvalidRequest (bad URL, private or unknown host), TooManyRequests, and RemoteServiceError with the
        service's status, or 500 when it did not answer, 502 when it said nothing.
        """
        if call.method.upper() not in METHODS:
            raise InvalidRequest("unsupported http method")
        if call.method.upper() in ("POST", "PUT") and not call.body:
            raise InvalidRequest("Content length is 0. Aborting request to remote model")
        url = self._checked(call.url)
        try:
            async with asyncio.timeout(deadline), self._slots_of(call).one():
                return await self._with_retries(call, url)
        except TimeoutError:
            raise _unreachable("Read timed out") from None

    def _checked(self, text: str) -> URL:
        _check_characters(text)
        try:
            url = URL(text)
            host, port = url.host, url.port
        except ValueError as error:
            raise _no_url(f"{error}: {text}") from None
        if url.scheme not in ("http", "https"):
            raise InvalidRequest(f"Protocol is not http or https: {url.scheme}")
        if not host or port is None:
            raise _no_url(f"it names no host: {text}")
        if url.user is not None or url.password is not None:
            raise _no_url(f"a URL may hold no user: {text}")
        address = literal(host)
        # The HTTP library asks no resolver for what it takes for an address: 2130706433 and 127.1 are 127.0.0.1 to
        # the system, and would be connected to unchecked.
        if address is None and host.replace(".", "").isdigit():
            raise unknown_host(host)
        if address is not None and not self._settings.current.connector_private_ip_enabled:
            refuse_private(host, [address])
        return url

    def _slots_of(self, call: Call) -> _Slots:
        size = max(1, int(client_config(call.config)["max_connection"]))
        found = self._slots.get(call.connector_id)
        if found is None or found.size != size:
            found = self._slots[call.connector_id] = _Slots(size)
        self._slots.move_to_end(call.connector_id)
        while len(self._slots) > _KEPT_CONNECTORS:
            self._slots.popitem(last=False)
        return found

    async def _with_retries(self, call: Call, url: URL) -> tuple[int, bytes]:
        config = client_config(call.config)
        most = int(config["max_retry_times"])
        loop = asyncio.get_running_loop()
        end = loop.time() + float(config["retry_timeout_seconds"])

        def enough(state: RetryCallState) -> bool:
            return loop.time() >= end or (most >= 0 and state.attempt_number > most)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Throttled), stop=enough, wait=_Wait(config), reraise=True
        )
        return await retrying(self._once, call, url, config)

    async def _once(self, call: Call, url: URL, config: Mapping[str, Any]) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=max(0.001, float(config["connection_timeout"])),
            sock_read=max(0.001, float(config["read_timeout"])),
        )
        try:
            async with self._session(bool(config["skip_ssl_verification"])).request(
                call.method.upper(),
                url,
                data=call.body or None,
                headers=call.headers,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=_NOTHING_ADDED,
            ) as answer:
                return _judged(answer, await self._read(answer))
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(_refusal(error)) from None
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise _unreachable("Read timed out") from None
        except aiohttp.ClientError as error:
            raise _unreachable(str(error) or type(error).__name__) from None
        except ValueError as error:
            # A line break in a header.
            raise InvalidRequest(f"The connector's request cannot be sent: {error}") from None

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(1 << 16):
            size += len(part)
            if size > self._max:
                raise RemoteServiceError(f"Remote service returned more than {self._max} bytes", remote_status=502)
            parts.append(part)
        return b"".join(parts)

    def _session(self, unverified: bool) -> aiohttp.ClientSession:
        # A connection that was allowed to a private address is not used any more once they are forbidden.
        private = self._settings.current.connector_private_ip_enabled
        if (unverified, private) not in self._sessions:
            self._sessions[unverified, private] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=CheckedResolver(lambda: private),
                    use_dns_cache=False,
                    ssl=not unverified,
                    # Connectors have limits of their own.
                    limit=0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._sessions[unverified, private]


class _Wait:
    """The pause before the next try, in seconds, by the connector's policy."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._base = max(0, int(config["retry_backoff_millis"])) / 1000
        self._policy = str(config["retry_backoff_policy"])

    def __call__(self, state: RetryCallState) -> float:
        if self._policy == "constant":
            return self._base
        most = self._base * min(2 ** (state.attempt_number - 1), 1024)
        return most / 2 + random.uniform(0, most / 2) if "equal" in self._policy else random.uniform(0, most)


def _judged(answer: aiohttp.ClientResponse, body: bytes) -> tuple[int, bytes]:
    throttled = answer.headers.get("x-amzn-ErrorType", "")
    if not 200 <= answer.status <= 300:
        if "ThrottlingException" in throttled:
            raise Throttled(_THROTTLED, remote_status=answer.status)
        if not body:
            reason = f"Remote service returned error status {answer.status} with empty body"
        else:
            reason = f"Error from remote service: {body[:_SHOWN_BYTES].decode('utf-8', 'replace')}"
        raise RemoteServiceError(reason, remote_status=answer.status)
    if not body:
        raise RemoteServiceError("Remote service returned empty response body", remote_status=502)
    return answer.status, body


def _refusal(error: aiohttp.ClientConnectorError) -> str:
    said = error.os_error.strerror or "Connection failed"
    if "Connect call failed" in said or isinstance(error.os_error, ConnectionRefusedError):
        said = "Connection refused"
    host = error.host if literal(error.host) is None else f"/{error.host}"
    return f"{said}: {host}:{error.port}"


def _unreachable(reason: str) -> RemoteServiceError:
    return RemoteServiceError(f"Error communicating with remote model: {reason}", remote_status=500)


def _check_characters(url: str) -> None:
    """Raises InvalidRequest, as Java's URI words it, for what no URL holds: a placeholder that was not filled, say."""
    wrong, bracket = _ILLEGAL.search(url), _BRACKET.match(url)
    if wrong is None and bracket is None:
        return
    index = min([found.start() for found in (wrong,) if found] + [found.end() - 1 for found in (bracket,) if found])
    if url[index] == "%":
        raise _bad_syntax(f"Malformed escape pair at index {index}: {url}")
    before = url[:index]
    if "#" in before:
        part = "fragment"
    elif "?" in before:
        part = "query"
    elif "://" not in before:
        part, index = "scheme name", 0
    else:
        part = "path" if "/" in before.partition("://")[2] else "authority"
    raise _bad_syntax(f"Illegal character in {part} at index {index}: {url}")


def _bad_syntax(reason: str) -> InvalidRequest:
    return _no_url(reason, caused_by={"type": "u_r_i_syntax_exception", "reason": reason})


def _no_url(reason: str, **cause: Any) -> InvalidRequest:
    return InvalidRequest(
        "Encountered error when trying to create uri from endpoint in ml connector. Please update the endpoint in"
        " connection configuration: ",
        caused_by={"type": "illegal_argument_exception", "reason": reason, **cause},
    )
