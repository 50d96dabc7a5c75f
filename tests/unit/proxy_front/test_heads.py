"""The grammar of request heads: what passes comes out as it went in, what is ambiguous never passes."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.proxy.front.config import Limits
from bridge.proxy.front.heads import BadRequest, HeadReader, RequestHead

READER = HeadReader(Limits())
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((start, *lines)) + b"\r\n\r\n"


REFUSED = {
    "TE and CL": head(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 3"),
    "CL and TE": head(b"Host: a", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "two TE": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "TE list": head(b"Transfer-Encoding: gzip, chunked"),
    "TE twice in one": head(b"Transfer-Encoding: chunked, chunked"),
    "TE identity": head(b"Transfer-Encoding: identity"),
    "TE with a tab inside": head(b"Transfer-Encoding: chun\tked"),
    "TE with vertical tab": head(b"Transfer-Encoding: \x0bchunked"),
    "TE in 1.0": head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"),
    "TE with space before colon": head(b"Transfer-Encoding : chunked"),
    "two CL": head(b"Content-Length: 3", b"Content-Length: 4"),
    "two equal CL": head(b"Content-Length: 3", b"Content-Length: 3"),
    "CL list": head(b"Content-Length: 3, 3"),
    "CL sign": head(b"Content-Length: +3"),
    "CL minus": head(b"Content-Length: -3"),
    "CL hex": head(b"Content-Length: 0x3"),
    "CL leading zero": head(b"Content-Length: 03"),
    "CL empty": head(b"Content-Length:"),
    "CL underscore": head(b"Content-Length: 1_0"),
    "CL overflow": head(b"Content-Length: 99999999999999999999999"),
    "CL inner space": head(b"Content-Length: 1 0"),
    "folded": head(b"X-A: b", b" c"),
    "folded by tab": head(b"X-A: b", b"\tc"),
    "first header with space": head(b" Host: a"),
    "space in name": head(b"X A: b"),
    "space before colon": head(b"Host : a"),
    "NUL in name": head(b"X\0A: b"),
    "NUL in value": head(b"X-A: b\0c"),
    "CR in value": head(b"X-A: b\rc"),
    "LF in value": head(b"X-A: b\nc: d"),
    "DEL in value": head(b"X-A: b\x7f"),
    "no colon": head(b"Host"),
    "empty name": head(b": b"),
    "name with high byte": head(b"X-\xc3\xa9: b"),
    "two Hosts": head(b"Host: a", b"Host: b"),
    "absolute form": head(start=b"GET http://a/ HTTP/1.1"),
    "authority form": head(start=b"CONNECT a:443 HTTP/1.1"),
    "no slash": head(start=b"GET a HTTP/1.1"),
    "two slashes": head(start=b"GET //a/_search HTTP/1.1"),
    "fragment": head(start=b"GET /a#b HTTP/1.1"),
    "lower-case method": head(start=b"get / HTTP/1.1"),
    "odd method": head(start=b"G@T / HTTP/1.1"),
    "two spaces": head(start=b"GET  / HTTP/1.1"),
    "tab between": head(start=b"GET\t/ HTTP/1.1"),
    "space in target": head(start=b"GET /a b HTTP/1.1"),
    "trailing space": head(start=b"GET / HTTP/1.1 "),
    "control in target": head(start=b"GET /\x01 HTTP/1.1"),
    "version 2": head(start=b"GET / HTTP/2.0"),
    "version 1.2": head(start=b"GET / HTTP/1.2"),
    "version lower case": head(start=b"GET / http/1.1"),
    "no version": head(start=b"GET /"),
    "LF line ends": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "connection names authorization": head(b"Connection: Authorization", b"Authorization: Basic eA=="),
    "connection names length": head(b"Connection: close, Content-Length", b"Content-Length: 3"),
    "connection names host": head(b"Connection: host"),
    "connection names cookie": head(b"Connection: keep-alive,cookie"),
    "connection names TE": head(b"Connection: transfer-encoding"),
    "long field": head(b"X-A: " + b"a" * 17_000),
    "many fields": head(*[b"X-%d: a" % number for number in range(2_100)]),
    "long line": head(start=b"GET /" + b"a" * 20_000 + b" HTTP/1.1"),
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(raw: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        READER.parse(raw)
    assert refusal.value.status in (400, 431)


def test_reads_what_a_client_sends() -> None:
    raw = head(
        b"Host: a:9200", b"Accept: */*", b"connection: Keep-Alive", b"X-Opaque-Id:\t7 ", b"Content-Length: 12",
        start=b"POST /i/_search?q=a%20b HTTP/1.1",
    )  # fmt: skip
    read = READER.parse(raw)
    assert (read.method, read.path, read.query, read.minor) == (b"POST", b"/i/_search", b"q=a%20b", 1)
    assert read.headers == [
        (b"Host", b"a:9200"), (b"Accept", b"*/*"), (b"X-Opaque-Id", b"7"), (b"Content-Length", b"12"),
    ]  # fmt: skip
    assert (read.length, read.chunked, read.keep_alive, read.host_at) == (12, False, True, 0)


def test_takes_hop_by_hop_headers_and_those_named_out() -> None:
    read = READER.parse(
        head(
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"Connection: Upgrade, HTTP2-Settings, X-Mine",
            b"X-Mine: 1",
            b"TE: trailers",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: close",
            b"Proxy-Authorization: Basic eA==",
            b"Trailer: X-B",
            b"Host: a",
            b"X-Kept: 1",
        )
    )
    assert read.headers == [(b"Host", b"a"), (b"X-Kept", b"1")]
    assert read.host_at == 0


@pytest.mark.parametrize(
    "name",
    [b"x-proxy-user", b"X-Proxy-Roles", b"x-proxy-ext-a", b"x-bridge-client", b"opendistro_security_user",
     b"_opendistro_security_user", b"_security_x", b"X-Forwarded-For", b"Forwarded"],
)  # fmt: skip
def test_takes_out_what_a_client_may_not_claim(name: bytes) -> None:
    assert READER.parse(head(name + b": admin", b"Authorization: Basic eA==")).headers == [
        (b"Authorization", b"Basic eA==")
    ]


def test_keeps_forwarded_headers_when_they_are_trusted_and_drops_tenants_when_they_are_not_passed() -> None:
    reader = HeadReader(Limits(), trust_forwarded=True, pass_tenant=False)
    read = reader.parse(head(b"X-Forwarded-For: 10.0.0.1", b"securitytenant: a"))
    assert read.headers == [(b"X-Forwarded-For", b"10.0.0.1")]


def test_accepts_what_a_cluster_accepts() -> None:
    assert READER.parse(head()).host_at == -1
    assert len(READER.parse(head(*[b"X-%d: a" % number for number in range(1_000)])).headers) == 1_000
    assert READER.parse(head(b"X-A: " + b"a" * 16_384)).headers[0][1] == b"a" * 16_384
    assert READER.parse(head(start=b"GET /" + b"a" * 4_096 + b" HTTP/1.1")).path[-1:] == b"a"
    assert READER.parse(head(start=b"OPTIONS * HTTP/1.1")).path == b"*"


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [(b"1.1", b"", True), (b"1.1", b"close", False), (b"1.1", b"Close, x-a", False), (b"1.0", b"", False),
     (b"1.0", b"keep-alive", True), (b"1.0", b"keep-alive, close", False)],
)  # fmt: skip
def test_keep_alive(version: bytes, connection: bytes, kept: bool) -> None:
    lines = [b"Connection: " + connection] if connection else []
    assert READER.parse(head(*lines, start=b"GET / HTTP/" + version)).keep_alive is kept


def test_expectations() -> None:
    assert READER.parse(head(b"Expect: 100-continue", b"Content-Length: 1")).expects
    with pytest.raises(BadRequest) as refusal:
        READER.parse(head(b"Expect: 200-ok"))
    assert refusal.value.status == 417


@pytest.mark.parametrize(
    "beginning", [b"\x16\x03\x01", b"get /", b"GET / HTTP/2", b"GET / HTTP/1.1\nHost: a\n", b"G" * 40, b"GET /a b"]
)
def test_gives_up_early_on_what_never_becomes_a_head(beginning: bytes) -> None:
    with pytest.raises(BadRequest):
        READER.check_partial(beginning)


@given(cut=st.integers(1, 80))
def test_waits_for_the_rest_of_a_good_head(cut: int) -> None:
    raw = head(b"Host: a", b"Accept: */*", b"Content-Length: 12", start=b"POST /i/_search HTTP/1.1")
    READER.check_partial(raw[: min(cut, len(raw) - 1)])


names = st.text(st.sampled_from(TOKEN.decode()), min_size=1, max_size=20).map(lambda text: b"x-" + text.encode())
values = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip(b" \t"))


class Llhttp:
    """What the C parser makes of the same bytes."""

    def __init__(self, raw: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(raw)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


@given(pairs=st.lists(st.tuples(names, values), max_size=8), minor=st.integers(0, 1))
def test_round_trip_and_agreement_with_llhttp(pairs: list[tuple[bytes, bytes]], minor: int) -> None:
    pairs = [pair for pair in pairs if not pair[0].lower().startswith((b"x-bridge-", b"x-proxy-", b"x-forwarded-for"))]
    raw = head(*[b"%b: %b" % pair for pair in pairs], start=b"GET /a/_doc/1?b=c HTTP/1.%d" % minor)
    read = READER.parse(raw)
    assert read.headers == pairs
    second = Llhttp(raw)
    assert second.url == read.target
    assert [(name, value.strip()) for name, value in second.headers] == pairs


@given(raw=st.binary(max_size=120))
def test_arbitrary_bytes_pass_or_are_refused(raw: bytes) -> None:
    try:
        read = READER.parse(head(start=b"GET /" + raw[:20] + b" HTTP/1.1") if raw[:1] < b"\x80" else raw)
    except BadRequest as refusal:
        assert refusal.status in (400, 417, 431)
    else:
        assert isinstance(read, RequestHead)
        assert b" " not in read.target
