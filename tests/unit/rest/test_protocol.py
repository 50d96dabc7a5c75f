"""Requests that aiohttp cannot parse: an error envelope for the client, one line for the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from bridge.app.run import Runner
from bridge.rest.errors import error_middleware

UNREADABLE = "the request body cannot be read in its Content-Encoding"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def read(request: web.Request) -> web.Response:
        return web.json_response({"read": len(await request.read())})

    app = web.Application(middlewares=[error_middleware])
    app.router.add_post("/", read)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask(port: int, head: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [*head.split("\n"), "Host: x", f"Content-Length: {len(body)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    answered = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    top, _, rest = answered.partition(b"\r\n\r\n")
    first, *named = top.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in named), json.loads(rest)


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        ("POST / HTTP/1.1\nContent-Encoding: br", b"{}", UNREADABLE),
        ("POST / HTTP/1.1\nContent-Encoding: gzip", b"{}", UNREADABLE),
        ("POST / HTTP/1.1\nContent-Encoding: deflate", b"{}", UNREADABLE),
        ("POST / HTTP/1.1\nContent-Encoding: gzip", b"x" * 300_000, UNREADABLE),
        ("FOO / HTTP/1.1", b"", "the request cannot be read: Invalid method encountered"),
        ("POST / HTTP/1.1\nno header", b"", "the request cannot be read: "),
    ],
)
async def test_the_client_reads_an_envelope_and_the_log_no_traceback(
    port: int, caplog: pytest.LogCaptureFixture, head: str, body: bytes, reason: str
) -> None:
    status, headers, told = await ask(port, head, body)
    assert (status, told["status"], told["error"]["type"]) == (400, 400, "illegal_argument_exception")
    assert told["error"]["reason"].startswith(reason)
    assert "\n" not in told["error"]["reason"]
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


async def test_what_can_be_read_is_answered(port: int) -> None:
    assert (await ask(port, "POST / HTTP/1.1\nConnection: close", b"{}"))[2] == {"read": 2}
