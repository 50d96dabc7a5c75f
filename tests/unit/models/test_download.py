"""What a download may cost and where it may go."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from bridge.models.download import Downloader, DownloadFailed, DownloadLimits

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{name}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def nobody(_: float) -> None:
    return


async def test_bytes_hash_and_progress(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    shares: list[float] = []

    async def note(share: float) -> None:
        shares.append(share)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=content)

    async with served(handler) as url:
        got = await Downloader().fetch(f"{url}/m.zip", tmp_path / "m.zip", note)
    assert (got.size, got.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert got.path.read_bytes() == content
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("announced", [True, False])
async def test_too_large(tmp_path: Path, announced: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if announced:
            return web.Response(body=bytes(3_000_000))
        stream = web.StreamResponse()
        await stream.prepare(request)
        try:
            while True:
                await stream.write(bytes(100_000))
        except ConnectionError:
            return stream

    limits = DownloadLimits(max_bytes=2_000_000)
    async with served(handler) as url:
        with pytest.raises(DownloadFailed, match="larger than 2000000 bytes"):
            await Downloader(limits).fetch(f"{url}/m.zip", tmp_path / "m.zip", nobody)
    assert (tmp_path / "m.zip").stat().st_size <= 2_000_000


async def test_silence_and_dripping_are_cut(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b"a")
        drip = request.match_info["name"] == "drip"
        try:
            for _ in range(200):
                await asyncio.sleep(0.05)
                if drip:
                    await stream.write(b"a")
        except ConnectionError:
            return stream
        return stream

    async with served(handler) as url:
        with pytest.raises(DownloadFailed, match="Read timed out"):
            await Downloader(DownloadLimits(idle_seconds=0.2)).fetch(f"{url}/silent", tmp_path / "a", nobody)
        with pytest.raises(DownloadFailed, match=r"took longer than 0\.5 s"):
            await Downloader(DownloadLimits(total_seconds=0.5)).fetch(f"{url}/drip", tmp_path / "b", nobody)


async def test_redirects_are_followed_a_little_and_checked(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        targets = {"once": "/m.zip", "loop": "/loop", "file": "file:///etc/hostname", "login": "http://u:p@127.0.0.1/x"}
        target = targets.get(request.match_info["name"])
        return web.Response(body=b"zip") if target is None else web.Response(status=302, headers={"Location": target})

    async with served(handler) as url:
        got = await Downloader().fetch(f"{url}/once", tmp_path / "m.zip", nobody)
        assert got.size == 3
        for name, reason in (("loop", "redirects more than"), ("file", "trusted url"), ("login", "user name")):
            with pytest.raises(DownloadFailed, match=reason):
                await Downloader().fetch(f"{url}/{name}", tmp_path / "m.zip", nobody)


async def test_a_cut_transfer_is_tried_again(tmp_path: Path) -> None:
    calls = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls > 1:
            return web.Response(body=b"whole")
        stream = web.StreamResponse(headers={"Content-Length": "5"})
        await stream.prepare(request)
        await stream.write(b"wh")
        assert request.transport is not None
        request.transport.abort()
        return stream

    async with served(handler) as url:
        got = await Downloader().fetch(f"{url}/m.zip", tmp_path / "m.zip", nobody)
    assert (got.path.read_bytes(), got.sha256, calls) == (b"whole", hashlib.sha256(b"whole").hexdigest(), 2)


async def test_files_only_where_they_are_allowed(tmp_path: Path) -> None:
    source = tmp_path / "a model.zip"
    source.write_bytes(b"zip")
    url = source.as_uri()
    with pytest.raises(DownloadFailed, match="file URLs are not allowed"):
        await Downloader().fetch(url, tmp_path / "out", nobody)
    allowed = Downloader(DownloadLimits(allow_file=True))
    assert (await allowed.fetch(url, tmp_path / "out", nobody)).size == 3
    with pytest.raises(DownloadFailed, match="No such file"):
        await allowed.fetch((tmp_path / "missing").as_uri(), tmp_path / "out", nobody)
