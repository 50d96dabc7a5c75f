"""What passes: the same bytes as without the front, in both directions, in every framing."""

# Raw requests stay on one line each.
# ruff: noqa: E501

from __future__ import annotations

import asyncio
import gzip
import random
from typing import Any

import pytest

PLAIN = b"POST /a/_refresh HTTP/1.1\r\nHost: b:1\r\n"


def requests() -> dict[str, bytes]:
    body = b'{"query":{"match_all":{}}}'
    bulk = b'{"index":{"_index":"a"}}\n{"t":"\xc3\xa9"}\n'
    packed = gzip.compress(body)
    return {
        "get": b"GET /_cat/health?v&h=a,b HTTP/1.1\r\nHost: b\r\nAccept: */*\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\nX-Opaque-Id: 1\r\n\r\n",
        "host later": b"GET / HTTP/1.1\r\nAccept: a\r\nhost: b\r\nX-A: 1\r\n\r\n",
        "search": b"POST /a/_search HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body),
        "get with body": b"GET /a/_search HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        "gzip": b"POST /a/_search HTTP/1.1\r\nHost: b\r\ncontent-encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(packed), packed),
        "chunked search": b"POST /a/_search HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n"
        b"%b\r\n%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (body[:5], len(body) - 5, body[5:]),
        "chunked": PLAIN + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        "ndjson": b"POST /_msearch HTTP/1.1\r\nHost: b\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%b"
        % (len(bulk), bulk),
        "empty body": PLAIN + b"Content-Length: 0\r\n\r\n",
        "credentials": PLAIN + b"Authorization: Basic YTpi\r\nCookie: a=b; c\r\nCookie: d\r\n\r\n",
        "odd values": PLAIN + b"X-A:\r\nX-B:  two  words  \r\nX-C: \xc3\xa9\r\n\r\n",
        "raw path": b"GET /%3Ca-%7Bnow%2Fd%7D%3E/_search?q=%2B%20+a HTTP/1.1\r\nHost: b\r\n\r\n",
    }


@pytest.mark.parametrize("name", requests())
async def test_requests_arrive_as_they_would_directly(rig: Any, read_answer: Any, new_origin: Any, name: str) -> None:
    raw = requests()[name]
    direct = await new_origin()
    for port in (direct.port, rig.port):
        reader, writer = await rig.open(port)
        writer.write(raw)
        assert (await read_answer(reader))[0] == 200
        writer.close()
    ours, theirs = rig.origin.seen[0], direct.seen[0]
    host = (b"Host", b"127.0.0.1:%d" % rig.origin.port)
    expected = [(key, host[1]) if key.lower() == b"host" else (key, value) for key, value in theirs.headers]
    if name == "no host":
        expected.insert(0, host)
    assert ours.headers == expected
    assert (ours.method, ours.target, ours.body) == (theirs.method, theirs.target, theirs.body)
    assert not ours.trailers


ANSWERS = {
    "plain": b"HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: 3\r\nx-a:  c\r\n\r\nabc",
    "odd reason": b"HTTP/1.1 299 Quite  all right\r\ncontent-length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
    "404": b'HTTP/1.1 404 Not Found\r\nWarning: 299 a "b"\r\ncontent-length: 2\r\n\r\n{}',
    "chunked": b"HTTP/1.1 200 OK\r\nX-A: b\r\ntransfer-encoding: chunked\r\nX-B: c\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x00\x01",
    "304": b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n',
    "204": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "cookies": b"HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_come_back_byte_by_byte(make_rig: Any, until: Any, name: str) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(ANSWERS[name])

    rig = await make_rig(handler)
    reader, writer = await rig.open()
    for number in (1, 2):
        writer.write(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        expected = ANSWERS[name].replace(b":  c", b": c")
        assert await asyncio.wait_for(reader.readexactly(len(expected)), 5) == expected
        await until(lambda number=number: len(rig.origin.seen) == number)
    assert rig.origin.opened == 1
    writer.close()


async def test_internal_and_hop_by_hop_answer_headers_stay_here(make_rig: Any) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Bridge-Clear: 5\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nUpgrade: h2c\r\n"
            b"Connection: keep-alive\r\ncontent-length: 0\r\n\r\n"
        )

    rig = await make_rig(handler)
    answer = await rig.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def test_an_answer_that_ends_with_the_connection(make_rig: Any, read_answer: Any) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b" world")
        await writer.drain()
        writer.close()

    rig = await make_rig(handler)
    reader, writer = await rig.open()
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        status, headers, body = await read_answer(reader)
        assert (status, headers[b"transfer-encoding"], body) == (200, b"chunked", b"hello world")
    writer.close()
    assert (await rig.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"connection: close\r\n\r\nhello world")


async def test_chunked_answers_are_unwrapped_for_http_1_0(make_rig: Any) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(ANSWERS["chunked"])

    rig = await make_rig(handler)
    answer = await rig.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\nX-A: b\r\nX-B: c\r\nconnection: close\r\n\r\nabc"


async def test_head_requests_have_no_body_and_keep_the_connection(rig: Any, read_answer: Any) -> None:
    reader, writer = await rig.open()
    for _ in range(3):
        writer.write(b"HEAD /a HTTP/1.1\r\nHost: b\r\n\r\n")
        status, headers, _ = await read_answer(reader, head_only=True)
        assert (status, headers[b"content-length"]) == (200, b"9")
    writer.write(b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n")
    assert (await read_answer(reader))[2] == b'{"n":4}'
    writer.close()
    assert rig.origin.opened == 1


async def test_pipelined_requests_are_answered_in_order(make_rig: Any, read_answer: Any) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        await asyncio.sleep(random.Random(seen.target).random() / 100)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(seen.target), seen.target))

    rig = await make_rig(handler)
    reader, writer = await rig.open()
    writer.write(
        b"".join(
            b"POST /_cat/%d HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nab" % number
            if number % 2
            else b"POST /%d/_search HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
            % number
            for number in range(40)
        )
    )
    for number in range(40):
        target = b"/_cat/%d" % number if number % 2 else b"/%d/_search" % number
        assert (await read_answer(reader))[2] == target
    writer.close()


async def test_expect_continue_is_answered(rig: Any, read_answer: Any) -> None:
    for path in (b"/a/_search", b"/a/_refresh"):
        reader, writer = await rig.open()
        writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: b\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
        assert (await asyncio.wait_for(read_answer(reader), 2))[0] == 100
        writer.write(b"{}")
        assert (await read_answer(reader))[0] == 200
        assert rig.origin.seen[-1].header(b"expect") is None
        writer.close()


async def test_bodies_in_drips(rig: Any, read_answer: Any) -> None:
    raw = requests()["chunked search"] + requests()["search"] + requests()["chunked"]
    reader, writer = await rig.open()
    for at in range(len(raw)):
        writer.write(raw[at : at + 1])
        await asyncio.sleep(0)
    for _ in range(3):
        assert (await read_answer(reader))[0] == 200
    assert [len(seen.body) for seen in rig.origin.seen] == [26, 26, 5]
    writer.close()


async def test_a_large_body_is_streamed_while_it_comes(make_rig: Any, read_answer: Any) -> None:
    rig = await make_rig()
    reader, writer = await rig.open()
    block = bytes(range(256)) * 1024
    writer.write(b"PUT /a/_mapping HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % (len(block) * 40))
    for _ in range(40):
        writer.write(block)
        await writer.drain()
    assert (await read_answer(reader))[0] == 200
    assert rig.origin.seen[0].body == block * 40
    writer.close()


async def test_upstream_connections_are_kept_and_shared(rig: Any, read_answer: Any) -> None:
    for _ in range(20):
        assert b" 200 OK" in await rig.ask(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert rig.origin.opened == 1


async def test_upgrades_are_not_passed_on(make_rig: Any) -> None:
    async def handler(origin: Any, seen: Any, writer: Any) -> None:
        assert seen.header(b"upgrade") is None
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nraw bytes")

    rig = await make_rig(handler)
    answer = await rig.ask(
        b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"raw bytes" not in answer
