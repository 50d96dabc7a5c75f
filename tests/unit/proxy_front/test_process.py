"""The front as a real process: what it imports, TLS on both sides, SIGTERM under load with another one taking over."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridge.proxy.front.config import FrontConfig, Limits, Timeouts, Tls

CHILD = """
import sys
from bridge.proxy.front.config import FrontConfig
from bridge.proxy.front.process import run
run(FrontConfig.from_json(sys.argv[1]), [int(sys.argv[2])])
"""


def test_the_configuration_travels_as_json() -> None:
    config = FrontConfig(
        ("https://a:9200",),
        "/a",
        "/b",
        Tls(verify=False),
        Tls("c", "k"),
        Limits(body=5),
        Timeouts(head=1.5),
        breaker_failures=2,
    )
    assert FrontConfig.from_json(config.to_json()) == config
    with pytest.raises(TypeError):
        FrontConfig.from_json(
            json.dumps({"upstreams": ["http://a"], "application": "a", "run_dir": "b", "nonsense": 1})
        )


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; import bridge.proxy.front.process, bridge.proxy.front.table\n"
        "print([name for name in ('aiohttp', 'opensearchpy', 'numpy', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


Start = Callable[[FrontConfig, socket.socket], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def make(config: FrontConfig, sock: socket.socket) -> subprocess.Popen[bytes]:
        number = sock.fileno()
        process = subprocess.Popen([sys.executable, "-c", CHILD, config.to_json(), str(number)], pass_fds=[number])
        running.append(process)
        return process

    yield make
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sock:
        yield sock


def config_for(url: str, folder: Path, **more: Any) -> FrontConfig:
    return FrontConfig((url,), str(folder / "app.sock"), str(folder), **more)


async def test_sigterm_under_load_fails_nothing(
    new_origin: Any, read_answer: Any, until: Any, start: Start, door: socket.socket, tmp_path: Path
) -> None:
    """Two fronts share the socket, as under the supervisor; the first is told to stop while requests come in."""
    origin = await new_origin()
    config = config_for(origin.url, tmp_path, timeouts=Timeouts(drain_idle=0.5, grace=5.0))
    first, port = start(config, door), door.getsockname()[1]
    answered, failed, stop = 0, [], False

    async def client() -> None:
        nonlocal answered
        reader = writer = None
        while not stop:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"POST /a/_search HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
                status, headers, _ = await read_answer(reader)
                assert status == 200
                answered += 1
            except (OSError, AssertionError, asyncio.IncompleteReadError) as error:
                failed.append(error)
                break
            if headers.get(b"connection") == b"close":
                writer.close()
                writer = None
            await asyncio.sleep(0.04)
        if writer is not None:
            writer.close()

    async def director() -> None:
        nonlocal stop
        await until(lambda: answered >= 100, 20)
        second = start(config, door)
        # The second one has to accept before the first stops: two processes, one queue of connections.
        await asyncio.sleep(1.5)
        first.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        await until(lambda: first.poll() is not None, 8)
        assert first.returncode == 0
        assert time.monotonic() - asked < 6
        before = answered
        await until(lambda: answered >= before + 50, 10)
        assert second.poll() is None
        stop = True

    async with asyncio.timeout(60):
        await asyncio.gather(director(), *(client() for _ in range(10)))
    assert failed == []


async def test_tls_on_both_sides(start: Start, door: socket.socket, tmp_path: Path, read_answer: Any) -> None:
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    pem, key, trusted, wrong = (str(tmp_path / name) for name in ("cert.pem", "key.pem", "ca.pem", "other.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(pem, append=True)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    other.cert_pem.write_to_path(wrong)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(serving)
    asking = ssl.create_default_context()
    authority.configure_trust(asking)

    writers = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 1_000_000 if b"/big" in head else 2
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (length, b"x" * length))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.transport.abort()

    origin = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
    url = f"https://127.0.0.1:{origin.sockets[0].getsockname()[1]}"
    config = config_for(url, tmp_path, upstream_tls=Tls(authority=trusted), server_tls=Tls(pem, key))
    start(config, door)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.getsockname()[1], ssl=asking)
    for target, length in ((b"/", 2), (b"/big", 1_000_000), (b"/", 2)):
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: b\r\n\r\n")
        status, _, body = await read_answer(reader)
        assert (status, len(body)) == (200, length)
    writer.close()
    await writer.wait_closed()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as strict:
        start(replace(config, upstream_tls=Tls(authority=wrong), server_tls=None), strict)
        reader, writer = await asyncio.open_connection("127.0.0.1", strict.getsockname()[1])
        writer.write(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        assert (await read_answer(reader))[0] == 502
        writer.close()
        await writer.wait_closed()
    origin.close()
    for kept in writers:
        kept.transport.abort()
    await asyncio.sleep(0.05)


async def test_counts_reach_the_sink(new_origin: Any, make_rig: Any, read_answer: Any) -> None:
    from bridge.proxy.front.counting import Counts

    class Notes:
        def __init__(self) -> None:
            self.kept: dict[Any, float] = {}

        def requests(self, lane: str, status: str, number: int) -> None:
            self.kept[lane, status] = self.kept.get((lane, status), 0) + number

        def added(self, lane: str, seconds: float) -> None:
            assert 0 < seconds < 1
            self.kept["added"] = self.kept.get("added", 0) + 1

        def connections(self, number: int) -> None:
            self.kept["connections"] = number

        def upstream_errors(self, cause: str, number: int) -> None:
            self.kept[cause] = self.kept.get(cause, 0) + number

    notes = Notes()
    rig = await make_rig()
    rig.front.context.counts = counts = Counts(notes, sample=4)
    reader, writer = await rig.open()
    for _ in range(16):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await read_answer(reader)
    writer.write(b"GET /_plugins/_ml/models/x HTTP/1.1\r\n\r\n")
    await read_answer(reader)
    counts.flush()
    assert notes.kept.pop("connections") >= 0
    assert notes.kept == {("fast", "2xx"): 16, "added": 4, ("slow", "5xx"): 1, "slow_connect": 1}
