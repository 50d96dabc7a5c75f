"""What the front writes to the cluster and to the application."""

from __future__ import annotations

import pytest

from bridge.proxy.front.answers import request_head
from bridge.proxy.front.config import Limits
from bridge.proxy.front.heads import HeadReader

READER = HeadReader(Limits())


def first_line(target: str, extra: bytes) -> bytes:
    head = READER.parse(f"POST {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return request_head(head, b"", extra).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ("/a/_doc/?pipeline=p", "/a/_doc?pipeline=p"),
        ("/a/_search//", "/a/_search"),
        ("/a/_search?q=/", "/a/_search?q=/"),
        ("/", "/"),
        ("/a//_search", "/a//_search"),
    ],
)
def test_the_application_gets_paths_as_the_clusters_router_reads_them(target: str, read: str) -> None:
    assert first_line(target, b"x-bridge-peer: a\r\n") == f"POST {read} HTTP/1.1".encode()
    assert first_line(target, b"") == f"POST {target} HTTP/1.1".encode()
