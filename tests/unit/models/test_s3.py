from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.models import s3

CONTENT = bytes(range(256)) * 9000


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TestServer]:
    """An S3 endpoint with one object in one bucket, as the environment names it to boto3."""

    async def get(request: web.Request) -> web.Response:
        signed = "AWS4-HMAC-SHA256" in request.headers.get("Authorization", "")
        if request.path == "/models/all-minilm.zip" and signed:
            return web.Response(body=CONTENT)
        text = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
        return web.Response(status=404, text=text, content_type="application/xml")

    app = web.Application()
    app.router.add_get("/{tail:.*}", get)
    server = TestServer(app)
    await server.start_server()
    given = {
        "AWS_ENDPOINT_URL_S3": str(server.make_url("")),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    yield server
    await server.close()


async def test_an_object_is_read_in_blocks_with_its_size_said_before(store: TestServer) -> None:
    blocks: list[bytes] = []
    sizes: list[int] = []

    async def write(block: bytes) -> None:
        assert sizes
        blocks.append(block)

    await s3.read("s3://models/all-minilm.zip", write, sizes.append)
    assert b"".join(blocks) == CONTENT
    assert sizes == [len(CONTENT)]
    assert len(blocks) > 1


async def test_a_missing_object_says_so_and_shows_no_secret(store: TestServer) -> None:
    async def write(_: bytes) -> None:
        raise AssertionError("nothing is to be written")

    with pytest.raises(s3.S3Missing, match="NoSuchKey") as failed:
        await s3.read("s3://models/other.zip", write, lambda _: None)
    assert "canary" not in failed.value.reason


@pytest.mark.parametrize("url", ["s3://bucket", "s3:///key", "s3://bucket/"])
async def test_a_url_without_bucket_or_key_is_refused(url: str) -> None:
    async def write(_: bytes) -> None:
        raise AssertionError("nothing is to be written")

    with pytest.raises(s3.S3Failed, match="bucket and a key"):
        await s3.read(url, write, lambda _: None)
