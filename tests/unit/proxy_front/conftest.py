"""A recording origin behind a real front, both on loopback in the test's own loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bridge.proxy.front.config import FrontConfig, Limits, Timeouts
from bridge.proxy.front.server import Front


@dataclass
class Seen:
    """One request as an origin read it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[bytes] = field(default_factory=list)

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


Handler = Callable[["Origin", Seen, asyncio.StreamWriter], Awaitable[None]]


async def plain(origin: Origin, seen: Seen, writer: asyncio.StreamWriter) -> None:
    body = b"" if seen.method == b"HEAD" else b'{"n":%d}' % len(origin.seen)
    writer.write(
        b"HTTP/1.1 200 OK\r\nX-OpenSearch-Version: OpenSearch/3.6.0\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body) or 9, body)
    )


@dataclass
class Origin:
    """A server that reads requests by the letter and writes down what it got; `handler` answers."""

    handler: Handler = plain
    seen: list[Seen] = field(default_factory=list)
    opened: int = 0
    open_now: int = 0
    garbage: list[bytes] = field(default_factory=list)
    partial: int = 0
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, *, port: int = 0, path: str = "") -> Origin:
        if path:
            self.server = await asyncio.start_unix_server(self._serve, path, limit=1 << 20)
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 20)
        return self

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(self.server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self.server is None:
            return
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        await asyncio.sleep(0.01)
        self.server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open_now += 1
        self.writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_now -= 1
            self.writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.garbage.append(error.partial)
            return False
        lines = raw[:-4].split(b"\r\n")
        method, target, version = lines[0].split(b" ")
        assert version == b"HTTP/1.1"
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
        seen = Seen(method, target, headers, b"")
        try:
            seen.body = await self._body(reader, seen)
        except (asyncio.IncompleteReadError, OSError, ValueError):
            self.partial += 1
            return False
        self.seen.append(seen)
        await self.handler(self, seen, writer)
        await writer.drain()
        return not writer.is_closing()

    async def _body(self, reader: asyncio.StreamReader, seen: Seen) -> bytes:
        if seen.header(b"transfer-encoding") is not None:
            assert seen.header(b"content-length") is None
            assert seen.header(b"transfer-encoding") == b"chunked"
            pieces = []
            while size := int((await reader.readline()).partition(b";")[0], 16):
                pieces.append(await reader.readexactly(size))
                assert await reader.readexactly(2) == b"\r\n"
            while (line := await reader.readline()) != b"\r\n":
                seen.trailers.append(line)
            return b"".join(pieces)
        return await reader.readexactly(int(seen.header(b"content-length") or 0))


@dataclass
class Rig:
    """`ask` sends raw bytes to the front and reads what comes back."""

    origin: Origin
    folder: Path
    front: Front
    sock: socket.socket
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    @property
    def app_socket(self) -> str:
        return str(self.folder / "app.sock")

    async def open(self, port: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the front (or to `port`) that is closed with the rig at the latest."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port, limit=1 << 20)
        self.writers.append(writer)
        return reader, writer

    async def ask(self, raw: bytes, *, wait: float = 5.0) -> bytes:
        """Everything until the front closes; send `Connection: close`, or something that is refused."""
        reader, writer = await self.open()
        try:
            writer.write(raw)
            async with asyncio.timeout(wait):
                return await reader.read(-1)
        finally:
            writer.close()


async def until(condition: Callable[[], bool], wait: float = 5.0) -> None:
    async with asyncio.timeout(wait):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def read_answer(
    reader: asyncio.StreamReader, *, head_only: bool = False
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One answer: status, headers by lower-case name, body without its framing."""
    raw = await reader.readuntil(b"\r\n\r\n")
    lines = raw[:-4].split(b"\r\n")
    status = int(lines[0].split(b" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if head_only or status < 200 or status in (204, 304):
        return status, headers, b""
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, headers, body
    if b"content-length" in headers:
        return status, headers, await reader.readexactly(int(headers[b"content-length"]))
    return status, headers, await reader.read(-1)


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    """`await make_rig(handler=..., upstreams=..., timeouts={...}, limits={...}, **config)`."""
    rigs: list[Rig] = []

    async def make(
        handler: Handler = plain,
        *,
        timeouts: dict[str, float] | None = None,
        limits: dict[str, int] | None = None,
        **rest: Any,
    ) -> Rig:
        origin = await Origin(handler).start()
        folder = tmp_path / f"run{len(rigs)}"
        folder.mkdir()
        config = FrontConfig(
            upstreams=rest.pop("upstreams", (origin.url,)),
            application=str(folder / "app.sock"),
            run_dir=str(folder),
            timeouts=replace(Timeouts(linger=0.3), **(timeouts or {})),
            limits=replace(Limits(), **(limits or {})),
            **rest,
        )
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        sock.setblocking(False)
        front = Front(config)
        await front.start([sock])
        rig = Rig(origin, folder, front, sock)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        for writer in rig.writers:
            writer.transport.abort()
        await rig.front.close()
        await rig.origin.stop()
    await asyncio.sleep(0.01)


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    return await make_rig()


@pytest.fixture
async def app(rig: Rig) -> AsyncIterator[Origin]:
    """An application that answers on the rig's UNIX socket."""
    origin = await Origin().start(path=rig.app_socket)
    yield origin
    await origin.stop()


@pytest.fixture(name="until")
def _until() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture(name="read_answer")
def _read_answer() -> Callable[..., Awaitable[tuple[int, dict[bytes, bytes], bytes]]]:
    return read_answer


@pytest.fixture(name="new_origin")
async def _new_origin() -> AsyncIterator[Callable[..., Awaitable[Origin]]]:
    origins: list[Origin] = []

    async def make(handler: Handler = plain, **where: Any) -> Origin:
        origins.append(await Origin(handler).start(**where))
        return origins[-1]

    yield make
    for origin in origins:
        await origin.stop()
