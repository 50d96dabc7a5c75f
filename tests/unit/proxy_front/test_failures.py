"""Origins that die, hang or reset; clients that leave; an application that is not there; the drain."""

# Raw requests stay on one line each.
# ruff: noqa: E501

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

GET = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n"
SEARCH = b"POST /a/_search HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}"
NEURAL = b'POST /a/_search HTTP/1.1\r\nHost: b\r\nContent-Length: 12\r\n\r\n{"neural":1}'
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def hang(origin: Any, seen: Any, writer: Any) -> None:
    await asyncio.sleep(60)


def reason(body: bytes) -> str:
    error = json.loads(body)
    assert error["error"]["root_cause"][0]["type"] == error["error"]["type"]
    return str(error["error"]["type"])


async def test_no_origin(make_rig: Any, read_answer: Any) -> None:
    rig = await make_rig(breaker_failures=3, breaker_open=0.3)
    port = rig.origin.port
    await rig.origin.stop()
    reader, writer = await rig.open()
    kinds = []
    for _ in range(5):
        writer.write(GET)
        status, headers, body = await read_answer(reader)
        kinds.append((status, reason(body), headers.get(b"retry-after")))
    assert kinds[:3] == [(502, "bad_gateway_exception", None)] * 3
    assert kinds[3:] == [(503, "cluster_unavailable_exception", b"1")] * 2
    await rig.origin.start(port=port)
    await asyncio.sleep(0.35)
    for _ in range(3):
        writer.write(GET)
        assert (await read_answer(reader))[0] == 200
    assert not rig.front.context.cluster.origins[0].breaker.is_open


async def test_an_open_breaker_lets_one_probe_through(make_rig: Any, read_answer: Any) -> None:
    async def reset(origin: Any, seen: Any, writer: Any) -> None:
        writer.transport.abort()

    rig = await make_rig(reset, breaker_failures=5, breaker_open=0.2)
    reader, writer = await rig.open()

    async def statuses(number: int) -> list[int]:
        found = []
        for _ in range(number):
            writer.write(SEARCH)
            found.append((await read_answer(reader))[0])
        return found

    assert await statuses(7) == [502] * 5 + [503] * 2
    await asyncio.sleep(0.25)
    assert await statuses(3) == [502, 503, 503]
    assert rig.origin.opened == 6


async def test_other_origins_take_over(make_rig: Any, new_origin: Any, read_answer: Any) -> None:
    first, second, dead = await new_origin(), await new_origin(), await new_origin()
    url = dead.url
    await dead.stop()
    rig = await make_rig(upstreams=(first.url, url, second.url))
    reader, writer = await rig.open()
    for _ in range(30):
        writer.write(SEARCH)
        assert (await read_answer(reader))[0] == 200
    assert len(first.seen) + len(second.seen) == 30
    assert min(len(first.seen), len(second.seen)) >= 5
    await first.stop()
    for _ in range(10):
        writer.write(GET)
        assert (await read_answer(reader))[0] == 200


async def test_an_origin_that_hangs(make_rig: Any, read_answer: Any, until: Any) -> None:
    rig = await make_rig(hang, timeouts={"response": 0.3, "head": 0.4})
    reader, writer = await rig.open()
    start = time.monotonic()
    writer.write(SEARCH)
    status, _, body = await read_answer(reader)
    assert (status, reason(body)) == (504, "gateway_timeout_exception")
    assert 0.25 < time.monotonic() - start < 1
    assert len(rig.front.context.clients) == 1


async def test_an_answer_cut_short_closes_the_client(make_rig: Any) -> None:
    async def half(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()

    rig = await make_rig(half)
    assert await rig.ask(GET) == b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
     b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok"],
)  # fmt: skip
async def test_an_answer_that_is_not_http(make_rig: Any, read_answer: Any, answer: bytes) -> None:
    async def odd(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(answer)

    rig = await make_rig(odd)
    reader, writer = await rig.open()
    writer.write(GET)
    status, _, body = await read_answer(reader)
    assert (status, reason(body)) == (502, "bad_gateway_exception")


async def test_bytes_after_an_answer_never_reach_the_next_client(make_rig: Any, read_answer: Any) -> None:
    async def twice(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")

    rig = await make_rig(twice)
    reader, writer = await rig.open()
    for _ in range(5):
        writer.write(GET)
        assert (await read_answer(reader))[2] == b"ok"
    assert rig.origin.opened == 5


@pytest.mark.parametrize(("request_", "tries"), [(GET, 2), (SEARCH, 1)], ids=["GET", "POST"])
async def test_only_what_is_safe_is_sent_again(make_rig: Any, read_answer: Any, request_: bytes, tries: int) -> None:
    """A kept connection dies with the second request on it."""

    async def dying(origin: Any, seen: Any, writer: Any) -> None:
        if len(origin.seen) == 2:
            writer.transport.abort()
        else:
            writer.write(OK)

    rig = await make_rig(dying)
    reader, writer = await rig.open()
    statuses = []
    for _ in range(2):
        writer.write(request_)
        statuses.append((await read_answer(reader))[0])
    assert statuses == [200, 200 if tries == 2 else 502]
    assert len(rig.origin.seen) == 1 + tries


async def test_connections_that_the_origin_closed_are_not_used(rig: Any, read_answer: Any, until: Any) -> None:
    reader, writer = await rig.open()
    for number in range(1, 4):
        writer.write(SEARCH)
        assert (await read_answer(reader))[0] == 200
        for upstream in list(rig.origin.writers):
            upstream.transport.abort()
        await until(lambda: rig.origin.open_now == 0)
        assert rig.origin.opened == number


async def test_a_decoder_that_gave_up_is_not_used_again(make_rig: Any, read_answer: Any) -> None:
    async def picky(origin: Any, seen: Any, writer: Any) -> None:
        if len(seen.headers) > 20:
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(30)
        writer.write(OK)

    rig = await make_rig(picky, timeouts={"response": 2.0})
    reader, writer = await rig.open()
    writer.write(GET[:-2] + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 100) for number in range(40)) + b"\r\n")
    assert (await read_answer(reader))[0] == 400
    writer.write(GET)
    assert (await read_answer(reader))[0] == 200


@pytest.mark.parametrize("half", [False, True])
async def test_a_client_that_leaves_takes_its_request_with_it(make_rig: Any, until: Any, half: bool) -> None:
    rig = await make_rig(hang)
    _, writer = await rig.open()
    writer.write(SEARCH)
    await until(lambda: len(rig.origin.seen) == 1)
    start = time.monotonic()
    if half:
        writer.write_eof()
    else:
        writer.close()
    await until(lambda: not rig.front.context.clients)
    # The recording origin notices on its next read only: ask the connection itself.
    upstreams = rig.front.context.cluster.origins[0]._all
    await until(lambda: not upstreams)
    assert time.monotonic() - start < 1


async def test_a_client_that_leaves_in_mid_body(rig: Any, until: Any) -> None:
    _, writer = await rig.open()
    writer.write(b"POST /a/_refresh HTTP/1.1\r\nHost: b\r\nContent-Length: 1000\r\n\r\nabc")
    await until(lambda: rig.origin.open_now == 1)
    writer.close()
    await until(lambda: rig.origin.partial == 1 and rig.origin.open_now == 0)
    assert rig.origin.seen == []


async def test_an_answer_before_the_body_was_read(make_rig: Any) -> None:
    """An origin that refuses early: the client gets the answer, and the connection ends with it."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    rig = await make_rig(upstreams=(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",))
    reader, writer = await rig.open()
    writer.write(b"POST /a/_refresh HTTP/1.1\r\nHost: b\r\nContent-Length: 90000000\r\n\r\n" + bytes(100_000))
    answer = await asyncio.wait_for(reader.read(-1), 3)
    assert answer == b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    server.close()


# the application


async def test_without_the_application_only_what_needs_it_fails(rig: Any, read_answer: Any) -> None:
    reader, writer = await rig.open()
    for request, status in (
        (SEARCH, 200),
        (NEURAL, 503),
        (SEARCH, 200),
        (b"GET /_plugins/_ml/models/a HTTP/1.1\r\n\r\n", 503),
    ):
        start = time.monotonic()
        writer.write(request)
        found, headers, body = await read_answer(reader)
        assert found == status
        assert time.monotonic() - start < 0.5
        if status == 503:
            assert reason(body) == "bridge_unavailable_exception"
            assert headers[b"retry-after"] == b"1"
    assert len(rig.origin.seen) == 2


async def test_the_clusters_settings_can_be_read_without_the_application(rig: Any, read_answer: Any) -> None:
    reader, writer = await rig.open()
    for method, status in ((b"GET", 200), (b"PUT", 503)):
        writer.write(method + b" /_cluster/settings HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
        assert (await read_answer(reader))[0] == status
    assert [(seen.method, seen.body) for seen in rig.origin.seen] == [(b"GET", b"{}")]


async def test_health_without_the_application(make_rig: Any, new_origin: Any, read_answer: Any) -> None:
    rig = await make_rig(timeouts={"health": 0.3})
    reader, writer = await rig.open()
    expected = {"live": True, "ready": False, "reasons": ["the application process does not answer"]}
    writer.write(b"GET /_bridge/health HTTP/1.1\r\n\r\n")
    status, _, body = await read_answer(reader)
    assert (status, json.loads(body)) == (503, expected)
    app = await new_origin(hang, path=rig.app_socket)
    start = time.monotonic()
    writer.write(b"GET /_bridge/health HTTP/1.1\r\n\r\n")
    status, _, body = await read_answer(reader)
    assert (status, json.loads(body)) == (503, expected)
    assert time.monotonic() - start < 1
    app.handler = type(rig.origin)().handler
    writer.write(b"GET /_bridge/health HTTP/1.1\r\n\r\n")
    assert (await read_answer(reader))[0] == 200


async def test_the_application_is_told_where_the_client_is(rig: Any, app: Any, read_answer: Any) -> None:
    reader, writer = await rig.open()
    writer.write(NEURAL.replace(b"Host: b", b"Host: b:1\r\nX-Bridge-Client: 6.6.6.6\r\nAuthorization: Basic eA=="))
    assert (await read_answer(reader))[0] == 200
    (seen,) = app.seen
    assert seen.headers == [
        (b"Host", b"b:1"), (b"Authorization", b"Basic eA=="), (b"Content-Length", b"12"),
        (b"x-bridge-client", b"127.0.0.1"), (b"x-bridge-scheme", b"http"),
    ]  # fmt: skip
    assert seen.body == b'{"neural":1}'
    assert rig.origin.seen == []


async def test_verdicts_of_the_application_open_the_fast_lane(rig: Any, app: Any, read_answer: Any) -> None:
    from bridge.proxy.front.table import LaneTable

    async def clear(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nx-bridge-clear: 60\r\ncontent-length: 2\r\n\r\n{}")

    app.handler = clear
    table = LaneTable(rig.folder)
    table.publish(ingest_pipelines=["embed"])
    rig.front.context.table = type(rig.front.context.table)(rig.folder)
    reader, writer = await rig.open()

    async def write(target: bytes) -> dict[bytes, bytes]:
        writer.write(b"POST " + target + b" HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
        status, headers, _ = await read_answer(reader)
        assert status in (200, 201)
        return headers

    for _ in range(3):
        assert b"x-bridge-clear" not in await write(b"/a/_doc")
    assert (len(app.seen), len(rig.origin.seen)) == (1, 2)
    await write(b"/a/_doc?pipeline=embed")
    await write(b"/a/_bulk")
    assert (len(app.seen), len(rig.origin.seen)) == (3, 2)
    table.publish(ingest_pipelines=["embed"])
    await write(b"/a/_doc")
    assert (len(app.seen), len(rig.origin.seen)) == (4, 2)
    table.publish(ingest_pipelines=[])
    await write(b"/b/_bulk")
    assert (len(app.seen), len(rig.origin.seen)) == (4, 3)
    table.close()


async def test_searches_that_were_clear_outlive_the_application(
    rig: Any, app: Any, read_answer: Any, until: Any
) -> None:
    from bridge.proxy.front.table import LaneTable

    async def clear(origin: Any, seen: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-bridge-clear: 0.05\r\ncontent-length: 2\r\n\r\n{}")

    app.handler = clear
    table = LaneTable(rig.folder)
    table.publish(ingest_pipelines=[], search_pipelines=["rag"])
    rig.front.context.table = type(rig.front.context.table)(rig.folder)
    reader, writer = await rig.open()

    async def search(index: bytes, body: bytes) -> int:
        writer.write(b"POST /%b/_search HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n%b" % (index, len(body), body))
        return int((await read_answer(reader))[0])

    assert [await search(b"a", b"{}") for _ in range(2)] == [200, 200]
    assert (len(app.seen), len(rig.origin.seen)) == (1, 1)
    await app.stop()
    version = rig.front.context.table.current().version
    await until(lambda: not rig.front.context.verdicts.clear("?a", version))
    named = b'{"search_pipeline":"rag"}'
    assert [await search(*asked) for asked in ((b"a", b"{}"), (b"a", named), (b"b", b"{}"))] == [200, 503, 503]
    assert len(rig.origin.seen) == 2
    table.close()


async def test_an_application_that_dies_in_the_middle(rig: Any, app: Any, read_answer: Any) -> None:
    async def dying(origin: Any, seen: Any, writer: Any) -> None:
        writer.transport.abort()

    app.handler = dying
    reader, writer = await rig.open()
    writer.write(NEURAL)
    status, _, body = await read_answer(reader)
    assert (status, reason(body)) == (503, "bridge_unavailable_exception")
    writer.write(SEARCH)
    assert (await read_answer(reader))[0] == 200


# the drain


async def test_draining_answers_what_is_in_flight(make_rig: Any, read_answer: Any, until: Any) -> None:
    async def slow(origin: Any, seen: Any, writer: Any) -> None:
        await asyncio.sleep(0.2)
        writer.write(OK)

    rig = await make_rig(slow, timeouts={"drain_idle": 0.1, "grace": 5.0})
    reader, writer = await rig.open()
    idle, _ = await rig.open()
    writer.write(SEARCH)
    await until(lambda: len(rig.origin.seen) == 1)
    start = time.monotonic()
    drain = asyncio.get_running_loop().create_task(rig.front.drain())
    assert await asyncio.wait_for(idle.read(-1), 2) == b""
    assert (await read_answer(reader))[0] == 200
    assert await asyncio.wait_for(reader.read(-1), 2) == b""
    await drain
    assert time.monotonic() - start < 2


async def test_the_drain_ends_within_the_grace(make_rig: Any, until: Any) -> None:
    rig = await make_rig(hang, timeouts={"drain_idle": 0.1, "grace": 0.3})
    reader, writer = await rig.open()
    writer.write(SEARCH)
    await until(lambda: len(rig.origin.seen) == 1)
    start = time.monotonic()
    await rig.front.drain()
    assert time.monotonic() - start < 1
    with pytest.raises(ConnectionError):
        if not await reader.read(-1):
            raise ConnectionResetError
