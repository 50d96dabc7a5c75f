"""`s3://bucket/key` through boto3, with the credentials of the bridge's own environment."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.errors import InvalidRequest
from bridge.store.aws import session

_BLOCK = 1 << 20
_ABSENT = ("NoSuchKey", "404", "NotFound")


class S3Failed(InvalidRequest):
    """The object could not be had."""


class S3Missing(S3Failed):
    """There is no such object."""


async def read(url: str, write: Callable[[bytes], Awaitable[None]], expect: Callable[[int], None]) -> None:
    """Pass the object's bytes to `write`, its size to `expect` before. Raises S3Failed."""
    parts = urllib.parse.urlsplit(url)
    bucket, key = parts.netloc, urllib.parse.unquote(parts.path.lstrip("/"))
    if not bucket or not key:
        raise S3Failed(f"an s3 URL names a bucket and a key: {url}")
    body, size = await asyncio.to_thread(_open, bucket, key, url)
    expect(size)
    try:
        while block := await asyncio.to_thread(_block, body, url):
            await write(block)
    finally:
        await asyncio.to_thread(body.close)


def _open(bucket: str, key: str, url: str) -> tuple[Any, int]:
    boto3 = session()
    from botocore.config import Config

    try:
        config = Config(connect_timeout=15, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
        answer = boto3.client("s3", config=config).get_object(Bucket=bucket, Key=key)
    except Exception as error:
        raise _failure(url, error) from error
    return answer["Body"], int(answer["ContentLength"])


def _block(body: Any, url: str) -> bytes:
    try:
        block: bytes = body.read(_BLOCK)
    except Exception as error:
        raise _failure(url, error) from error
    return block


def _failure(url: str, error: Exception) -> S3Failed:
    # boto3 raises classes that it makes at run time, some below no common base but Exception.
    told = getattr(error, "response", None)
    code = str((told.get("Error") or {}).get("Code")) if isinstance(told, dict) else ""
    return (S3Missing if code in _ABSENT else S3Failed)(f"{url}: {error}")
