"""Fetching a model's zip from where its URL points, within limits, hashing on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from aiohttp.abc import AbstractResolver

from bridge.errors import BridgeError, InvalidRequest
from bridge.models import s3

_BLOCK = 1 << 20
_TRIES = 3
_PASSING = (429, 502, 503, 504)

Progress = Callable[[float], Awaitable[None]]
"""Told the share done, 0 to 1, after each block."""


class DownloadFailed(InvalidRequest):
    """The bytes could not be had; the reason is what the task's `error` says."""


class Missing(DownloadFailed):
    """Nothing stands at the URL."""


class _Cut(Exception):
    """A transfer that may go better when tried again."""


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """What a download may cost; sizes in bytes, times in seconds."""

    max_bytes: int = 10 << 30
    total_seconds: float = 3600.0
    idle_seconds: float = 60.0
    connect_seconds: float = 15.0
    redirects: int = 5
    allow_file: bool = False
    trusted_url: str = r"^(https?|s3)://"


@dataclass(frozen=True)
class Downloaded:
    """A whole file on disk."""

    path: Path
    size: int
    sha256: str


class Downloader:
    """Gets http, https, s3 and (where allowed) file URLs.

    `resolver` decides which addresses may be connected to: check and connect are the same step. Proxies and
    credentials of the environment are ignored.
    """

    def __init__(self, limits: DownloadLimits | None = None, *, resolver: AbstractResolver | None = None) -> None:
        self._limits = limits or DownloadLimits()
        self._resolver = resolver

    @property
    def limits(self) -> DownloadLimits:
        """What a download may cost."""
        return self._limits

    async def fetch(self, url: str, target: Path, progress: Progress, *, most: int | None = None) -> Downloaded:
        """Write what `url` gives to `target`, at most `most` bytes (the limit's when None).

        Raises DownloadFailed, Missing when nothing is there; the caller removes the file.
        """
        sink = _Sink(target, self._limits.max_bytes if most is None else most, progress)
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                await self._by_scheme(url, sink)
        except TimeoutError as error:
            raise DownloadFailed(f"{url} took longer than {self._limits.total_seconds:g} s") from error
        finally:
            await asyncio.to_thread(sink.close)
        return Downloaded(target, sink.size, sink.digest.hexdigest())

    async def _by_scheme(self, url: str, sink: _Sink) -> None:
        scheme = urllib.parse.urlsplit(url).scheme.lower()
        if scheme in ("http", "https"):
            await self._http(url, sink)
        elif scheme == "s3":
            await self._s3(url, sink)
        elif scheme == "file" and self._limits.allow_file:
            await self._file(url, sink)
        else:
            raise DownloadFailed(f"{scheme or 'relative'} URLs are not allowed: {url}")

    async def _s3(self, url: str, sink: _Sink) -> None:
        try:
            await s3.read(url, sink.write, sink.expect)
        except s3.S3Missing as error:
            raise Missing(error.reason) from error

    async def _file(self, url: str, sink: _Sink) -> None:
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
        try:
            file = await asyncio.to_thread(path.open, "rb")
            with file:
                sink.expect(os.fstat(file.fileno()).st_size)
                while block := await asyncio.to_thread(file.read, _BLOCK):
                    await sink.write(block)
        except FileNotFoundError as error:
            raise Missing(f"{path} ({error.strerror})") from error
        except OSError as error:
            raise DownloadFailed(f"{path} ({error.strerror})") from error

    async def _http(self, url: str, sink: _Sink) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                await self._http_once(url, sink)
                return
            except _Cut as cut:
                if attempt == _TRIES:
                    raise DownloadFailed(str(cut)) from cut
                await asyncio.sleep(0.5 * 2**attempt)
                await asyncio.to_thread(sink.restart)

    async def _http_once(self, url: str, sink: _Sink) -> None:
        times = aiohttp.ClientTimeout(
            total=None, sock_connect=self._limits.connect_seconds, sock_read=self._limits.idle_seconds
        )
        connector = aiohttp.TCPConnector(resolver=self._resolver)
        async with aiohttp.ClientSession(
            connector=connector, timeout=times, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            try:
                async with self._followed(session, url) as answer:
                    if answer.content_length is not None:
                        sink.expect(answer.content_length)
                    async for block in answer.content.iter_chunked(_BLOCK):
                        await sink.write(block)
            except aiohttp.ServerTimeoutError as error:
                raise DownloadFailed("Read timed out") from error
            except aiohttp.ClientConnectorDNSError as error:
                raise DownloadFailed(error.host) from error
            except aiohttp.ClientConnectorError as error:
                raise DownloadFailed(_connect_reason(error)) from error
            except aiohttp.InvalidURL as error:
                raise DownloadFailed(f"not a URL: {url}") from error
            except (aiohttp.ClientError, ConnectionError) as error:
                raise _Cut(f"{url}: the transfer was cut ({type(error).__name__})") from error

    @asynccontextmanager
    async def _followed(self, session: aiohttp.ClientSession, url: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The first answer that is no redirect; each hop is checked as the first URL was."""
        here = url
        for _ in range(self._limits.redirects + 1):
            self._check_hop(here)
            async with session.get(here, allow_redirects=False, headers={"Accept": "*/*"}) as answer:
                if answer.status in (301, 302, 303, 307, 308) and "Location" in answer.headers:
                    here = urllib.parse.urljoin(here, answer.headers["Location"])
                    continue
                _check_status(answer.status, url)
                yield answer
                return
        raise DownloadFailed(f"{url} redirects more than {self._limits.redirects} times")

    def _check_hop(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not re.search(self._limits.trusted_url, url):
            raise DownloadFailed("URL can't match trusted url regex")
        if parts.username is not None or parts.password is not None:
            raise DownloadFailed("a model URL must not carry a user name or password")


def _check_status(status: int, url: str) -> None:
    if status in (404, 410):
        raise Missing(url)
    if status in _PASSING:
        raise _Cut(f"Server returned HTTP response code: {status} for URL: {url}")
    if status != 200:
        raise DownloadFailed(f"Server returned HTTP response code: {status} for URL: {url}")


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ConnectionRefusedError):
        return "Connection refused"
    return cause.strerror or str(error)


class _Sink:
    """The file being written: counts, hashes and reports."""

    def __init__(self, target: Path, max_bytes: int, progress: Progress) -> None:
        self._target = target
        self._max_bytes = max_bytes
        self._progress = progress
        self._file: BinaryIO = target.open("wb")
        self._expected = 0
        self.size = 0
        self.digest = hashlib.sha256()

    def expect(self, size: int) -> None:
        self._refuse_beyond(size)
        self._expected = size

    async def write(self, block: bytes) -> None:
        self._refuse_beyond(self.size + len(block))
        await asyncio.to_thread(self._store, block)
        if self._expected:
            await self._progress(min(1.0, self.size / self._expected))

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.digest = hashlib.sha256()

    def close(self) -> None:
        self._file.close()

    def _store(self, block: bytes) -> None:
        self._file.write(block)
        self.digest.update(block)
        self.size += len(block)

    def _refuse_beyond(self, size: int) -> None:
        if size > self._max_bytes:
            raise DownloadFailed(f"the model is larger than {self._max_bytes} bytes")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex; blocking."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def failure_text(error: BaseException) -> str:
    """What a task's `error` says of any failure."""
    if isinstance(error, BridgeError):
        return error.reason
    return str(error) or type(error).__name__
