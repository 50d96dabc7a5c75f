"""Chunked bodies: the same bytes whatever the cut, the rest of the connection untouched, tricks refused."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.proxy.front.chunks import ChunkReader
from bridge.proxy.front.heads import BadRequest


def chunked(pieces: list[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return body + b"0\r\n" + trailers + b"\r\n"


def feed(raw: bytes, cuts: list[int]) -> tuple[bytes, ChunkReader]:
    reader = ChunkReader()
    got, at = b"", 0
    for cut in [*sorted(set(cuts)), len(raw)]:
        if reader.done:
            break
        got += b"".join(reader.feed(raw[at:cut]))
        at = cut
    return got, reader


@given(
    pieces=st.lists(st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
    extension=st.sampled_from([b"", b";a=b", b';a="b c"']),
    trailers=st.sampled_from([b"", b"X-A: b\r\n", b"Content-Length: 9\r\nX-B: c\r\n"]),
)
def test_any_cut_gives_the_same_body(pieces: list[bytes], cuts: list[int], extension: bytes, trailers: bytes) -> None:
    raw = chunked(pieces, extension=extension, trailers=trailers)
    got, reader = feed(raw, [cut for cut in cuts if cut < len(raw)])
    assert got == b"".join(pieces)
    assert reader.done
    assert reader.rest == b""


@given(pieces=st.lists(st.binary(max_size=50), max_size=3))
def test_what_follows_is_left_alone(pieces: list[bytes]) -> None:
    got, reader = feed(chunked(pieces) + b"GET / HTTP/1.1\r\n", [])
    assert (got, reader.rest) == (b"".join(pieces), b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "raw",
    [b" 2\r\nab\r\n0\r\n\r\n", b"2 \r\nab\r\n0\r\n\r\n", b"0x2\r\nab\r\n0\r\n\r\n", b"+2\r\nab\r\n0\r\n\r\n",
     b"-2\r\nab\r\n0\r\n\r\n", b"\r\n2\r\nab\r\n0\r\n\r\n", b"ffffffffffffffff2\r\nab\r\n0\r\n\r\n",
     b"10000000000000002\r\nab\r\n0\r\n\r\n", b"2\nab\r\n0\r\n\r\n", b"2\r\nab\n0\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n",
     b"2\r\nab0\r\n\r\n", b"2;a=\x00\r\nab\r\n0\r\n\r\n", b"2;a=\rb\r\nab\r\n0\r\n\r\n", b"g\r\n", b"\xef\xbc\x91\r\n",
     b"0\r\nX A: b\r\n\r\n", b"0\r\n X-A: b\r\n\r\n", b"0\r\nGET / HTTP/1.1\r\n\r\n", b"0\n\n", b"1_0\r\n",
     b"2" + b";" + b"a" * 5_000, b"0\r\n" + b"X-A: " + b"a" * 4_000 + b"\r\n" + (b"X: " + b"a" * 4_000 + b"\r\n") * 5],
)  # fmt: skip
def test_refuses(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        feed(raw, [])
    with pytest.raises(BadRequest):
        feed(raw, list(range(len(raw))))


class Llhttp:
    def __init__(self) -> None:
        self.body = b""
        self.done = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True


@given(raw=st.lists(st.sampled_from([b"0", b"1", b"2", b"a", b"\r\n", b"\n", b" ", b";x", b"\t", b"ab"]), max_size=12))
def test_whatever_passes_reads_the_same_in_llhttp(raw: list[bytes]) -> None:
    data = b"".join(raw)
    try:
        got, reader = feed(data, [])
    except BadRequest:
        return
    if not reader.done:
        return
    other = Llhttp()
    parser = httptools.HttpRequestParser(other)
    parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    parser.feed_data(data[: len(data) - len(reader.rest)])
    assert (other.body, other.done) == (got, True)
