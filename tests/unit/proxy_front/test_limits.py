"""Slow clients, large bodies, slow readers: cut, refused or held back, and memory stays flat."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20


def memory() -> int:
    """Resident bytes of this process, which holds front, origin and client."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def refresh(length: int) -> bytes:
    return b"POST /a/_refresh HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % length


async def closed_after(rig: Any, raw: bytes, *, drip: bytes = b"") -> tuple[float, bytes]:
    reader, writer = await rig.open()
    start = time.monotonic()
    writer.write(raw)

    async def dripping() -> None:
        while drip:
            await asyncio.sleep(0.05)
            writer.write(drip)

    async with asyncio.timeout(5):
        task = asyncio.get_running_loop().create_task(dripping())
        try:
            answer = await reader.read(-1)
        except OSError:
            answer = b""
        task.cancel()
    return time.monotonic() - start, answer


@pytest.mark.parametrize(
    ("raw", "drip", "status"),
    [(b"", b"", b""), (b"GET / HT", b"", b"408"), (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n", b"408"),
     (refresh(100), b"", b"408"), (b"POST /a/_search HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"", b"408")],
    ids=["silent", "half a line", "dripping headers", "silent body", "silent search body"],
)  # fmt: skip
async def test_slow_clients_are_cut(make_rig: Any, until: Any, raw: bytes, drip: bytes, status: bytes) -> None:
    rig = await make_rig(timeouts={"head": 0.3, "body": 0.3, "linger": 0.1})
    took, answer = await closed_after(rig, raw, drip=drip)
    assert 0.25 < took < 1.5
    assert answer[9:12] == status
    assert rig.origin.seen == []
    await until(lambda: not rig.front.context.clients and rig.origin.open_now == 0)


async def test_a_body_that_keeps_coming_is_not_cut(make_rig: Any, read_answer: Any) -> None:
    rig = await make_rig(timeouts={"head": 0.2, "body": 0.3})
    reader, writer = await rig.open()
    writer.write(refresh(10))
    for _ in range(10):
        await asyncio.sleep(0.08)
        writer.write(b"x")
    assert (await read_answer(reader))[0] == 200


async def test_idle_connections_are_closed_in_time(make_rig: Any, read_answer: Any) -> None:
    rig = await make_rig(timeouts={"keep_alive": 0.3})
    reader, writer = await rig.open()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await read_answer(reader)
    start = time.monotonic()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(3):
            await read_answer(reader)
    assert 0.2 < time.monotonic() - start < 1


async def test_too_large_by_content_length(rig: Any, until: Any) -> None:
    limit = rig.front.context.config.limits.body
    assert limit == 100 * MIB
    answer = await rig.ask(refresh(limit + 1))
    assert answer == b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    answer = await rig.ask(refresh(limit + 1).replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert rig.origin.opened == 0


@pytest.mark.parametrize("path", [b"/a/_refresh", b"/a/_search"])
async def test_too_large_in_chunks(make_rig: Any, until: Any, new_origin: Any, path: bytes) -> None:
    """The origin, which reads along, never gets an end of the body; nothing piles up here."""
    rig = await make_rig(limits={"body": 24 * MIB, "scanned_body": 2 * MIB})
    app = await new_origin(path=rig.app_socket)
    reader, writer = await rig.open()
    writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b"40000\r\n" + bytes(262_144) + b"\r\n"
    try:
        for _ in range(200):
            writer.write(block)
            await writer.drain()
    except ConnectionError:
        pass
    assert (await reader.read(12)) == b"HTTP/1.1 413"
    target = app if path == b"/a/_search" else rig.origin
    await until(lambda: target.partial == 1)
    assert target.seen == []


async def test_a_hundred_mebibytes_pass_with_flat_memory(make_rig: Any, read_answer: Any) -> None:
    received = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        while received < 100 * MIB:
            received += len(await reader.read(MIB))
            if received > 20 * MIB and received < 21 * MIB:
                await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rig = await make_rig(upstreams=(f"http://127.0.0.1:{port}",))
    before = memory()
    reader, writer = await rig.open()
    writer.write(refresh(100 * MIB))
    block, worst = bytes(MIB), 0
    for _ in range(100):
        writer.write(block)
        await writer.drain()
        worst = max(worst, memory())
    assert (await read_answer(reader))[0] == 200
    assert received == 100 * MIB
    assert worst - before < 20 * MIB
    server.close()


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_slow_reader_holds_the_origin_back(make_rig: Any, framing: str) -> None:
    size, sent = 60 * MIB, 0

    async def big(origin: Any, seen: Any, writer: Any) -> None:
        nonlocal sent
        how = b"content-length: %d" % size if framing == "length" else b"transfer-encoding: chunked"
        writer.write(b"HTTP/1.1 200 OK\r\n" + how + b"\r\n\r\n")
        block = bytes(262_144)
        while sent < size:
            writer.write(block if framing == "length" else b"40000\r\n" + block + b"\r\n")
            await writer.drain()
            sent += len(block)
        if framing == "chunks":
            writer.write(b"0\r\n\r\n")

    rig = await make_rig(big)
    reader, writer = await rig.open()
    before = memory()
    writer.write(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
    await asyncio.sleep(0.5)
    assert sent < 30 * MIB
    assert memory() - before < 30 * MIB
    total, worst = 0, 0
    while total < size:
        total += len(await reader.read(MIB))
        worst = max(worst, memory())
    assert sent == size
    assert worst - before < 30 * MIB
    writer.write(b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n")
    sent = size
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)


async def test_a_client_that_never_reads_is_dropped(make_rig: Any, until: Any) -> None:
    async def big(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (50 * MIB))
        for _ in range(50):
            writer.write(bytes(MIB))
            await writer.drain()

    rig = await make_rig(big, timeouts={"client_stalled": 0.3, "head": 0.4})
    _, writer = await rig.open()
    writer.transport.pause_reading()
    writer.write(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
    await until(lambda: rig.origin.opened == 1)
    await until(lambda: rig.origin.open_now == 0 and not rig.front.context.clients)


async def test_pipelining_is_bounded(make_rig: Any, until: Any) -> None:
    async def never(origin: Any, seen: Any, writer: Any) -> None:
        await asyncio.sleep(30)

    rig = await make_rig(never, limits={"pipelined": 10_000})
    before = memory()
    _, writer = await rig.open()
    request = b"GET /a HTTP/1.1\r\nHost: b\r\nX-A: " + b"a" * 1000 + b"\r\n\r\n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            for _ in range(60_000):
                writer.write(request)
                await writer.drain()
    assert len(rig.origin.seen) == 1
    assert memory() - before < 20 * MIB


async def test_large_search_bodies_go_to_the_application_unscanned(
    make_rig: Any, new_origin: Any, read_answer: Any
) -> None:
    rig = await make_rig(limits={"scanned_body": 1000})
    app = await new_origin(path=rig.app_socket)
    reader, writer = await rig.open()
    for size, chunked in ((900, False), (2_000, False), (2_000, True), (900, True)):
        body = b"x" * size
        how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        data = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
        writer.write(b"POST /_msearch HTTP/1.1\r\nHost: b\r\n" + how + b"\r\n\r\n" + data)
        assert (await read_answer(reader))[0] == 200
    assert [len(seen.body) for seen in rig.origin.seen] == [900, 900]
    assert [len(seen.body) for seen in app.seen] == [2_000, 2_000]
    assert rig.front.context.scanning == 0


async def test_the_number_of_connections_is_capped(make_rig: Any, until: Any) -> None:
    rig = await make_rig(limits={"connections": 3})
    for _ in range(3):
        await rig.open()
    await until(lambda: len(rig.front.context.clients) == 3)
    answer = await rig.ask(b"GET / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"too_many_connections_exception" in answer


async def test_500_slow_clients_leave_the_others_alone(make_rig: Any, read_answer: Any, until: Any) -> None:
    rig = await make_rig(timeouts={"head": 1.0, "body": 1.0})
    beginnings = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX-A: b\r\n", refresh(1000), refresh(50) + b"x"]
    pairs = await asyncio.gather(*(rig.open() for _ in range(500)))
    for number, (_, writer) in enumerate(pairs):
        writer.write(beginnings[number % len(beginnings)])
    await until(lambda: len(rig.front.context.clients) == 500)
    reader, writer = await rig.open()
    waits = []
    for _ in range(100):
        start = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        assert (await read_answer(reader))[0] == 200
        waits.append(time.perf_counter() - start)
    assert sorted(waits)[50] < 0.05
    writer.close()
    await until(lambda: not rig.front.context.clients)
