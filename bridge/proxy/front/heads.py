"""Request heads: one strict grammar, and nothing of a head goes on that was not read here.

A cluster is the lenient side (it takes Transfer-Encoding beside Content-Length, two of either, folded headers, an
overflowing chunk size), so whatever is malformed or could be read in two ways is refused before a byte reaches it.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from bridge.proxy.front.config import Limits

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_HEAD = re.compile(
    rb"([A-Z]{1,24}) (/[!-~\x80-\xff]*|\*) HTTP/1\.([01])\r\n((?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_FIELD = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")
_STARTS = re.compile(rb"[A-Z]{1,24}(?: [!-~\x80-\xff]*(?: (?:H(?:T(?:T(?:P(?:/(?:1(?:\.[01]?)?)?)?)?)?)?)?)?)?\Z")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_REMEMBERED, _REMEMBERED_BYTES = 2_048, 1_024
# No leading zeros: some parsers take them for octal.
_DIGITS = re.compile(rb"0|[1-9][0-9]{0,17}")


class Kind(IntEnum):
    """What becomes of a request header, by its name."""

    PASS = 0
    DROP = 1
    CONNECTION = 2
    LENGTH = 3
    CODING = 4
    HOST = 5
    EXPECT = 6
    TENANT = 7
    FORWARDED = 8


HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings")
)
_KINDS = {
    b"connection": Kind.CONNECTION,
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"host": Kind.HOST,
    b"expect": Kind.EXPECT,
    b"securitytenant": Kind.TENANT,
    b"x-forwarded-for": Kind.FORWARDED,
    b"forwarded": Kind.FORWARDED,
}
# The cluster's security plugin believes these when they come from a trusted proxy, which the bridge may be.
_FORGED = (b"x-bridge-", b"x-proxy-", b"proxy-", b"opendistro_security_", b"_opendistro_security_", b"_security_")
_DROPPED_WHEN_NAMED = re.compile(rb"x-|keep-alive$|te$|trailer$|upgrade$|http2-settings$|proxy-connection$")


class BadRequest(Exception):
    """A request that is refused; `status` and `kind` go into the answer, after which the connection is closed."""

    def __init__(self, reason: str, status: int = 400, kind: str = "illegal_argument_exception") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.kind = kind


class RequestHead(NamedTuple):
    """A request head that passed the grammar.

    `headers` hold what goes on, in the client's order and spelling, the framing headers with their checked values;
    `host_at` is the place of Host in it, -1 without one. `length` is None without Content-Length. `built` keeps the
    head as it goes on, by upstream host: the same head often comes again. `encoding` is the body's Content-Encoding.
    """

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    minor: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    chunked: bool
    keep_alive: bool
    expects: bool
    host_at: int
    built: dict[bytes, bytes]
    encoding: bytes | None = None

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)


class HeadReader:
    """Reads heads under fixed limits; holds no state of a connection."""

    def __init__(self, limits: Limits, *, trust_forwarded: bool = False, pass_tenant: bool = True) -> None:
        self._limits = limits
        self._dropped = {Kind.DROP}
        if not trust_forwarded:
            self._dropped.add(Kind.FORWARDED)
        if not pass_tenant:
            self._dropped.add(Kind.TENANT)
        self._seen: dict[bytes, int] = {}
        self._heads: dict[bytes, RequestHead] = {}

    def parse(self, raw: bytes) -> RequestHead:
        """`raw` is one head with its blank line. Raises BadRequest."""
        # Clients send the same few heads over and over: a look-up costs a twentieth of reading one.
        head = self._heads.get(raw)
        if head is None:
            head = self._read(raw)
            if len(raw) <= _REMEMBERED_BYTES:
                if len(self._heads) >= _REMEMBERED:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def _read(self, raw: bytes) -> RequestHead:
        match = _HEAD.fullmatch(raw)
        if match is None:
            raise self._explain(raw)
        method, target, minor, block = match.groups()
        fields = _FIELD.findall(block)
        if len(raw) > 4096:
            self._check_sizes(raw, fields)
        path, _, query = target.partition(b"?")
        if b"#" in target or target.startswith(b"//"):
            raise BadRequest("The request target is not a plain absolute path.")
        headers, framing = self._classify(fields)
        length, chunked = framing.body(minor)
        return RequestHead(
            method, target, path, query, 1 if minor == b"1" else 0, headers, length, chunked,
            framing.keep_alive(minor), framing.expects(minor), framing.host_at, {}, _encoding(headers),
        )  # fmt: skip

    def check_partial(self, buffer: bytes) -> None:
        """Refuse early what can't become a head any more. Raises BadRequest."""
        line, ended, _ = buffer.partition(b"\r\n")
        if len(line) > self._limits.request_line:
            raise _long_line(self._limits.request_line)
        if len(buffer) > self._limits.head:
            raise BadRequest("The request head is too large.", 431, "too_long_http_header_exception")
        if not ended and not _STARTS.match(line.removesuffix(b"\r")):
            raise BadRequest("The request line is malformed.")
        if _BARE_LF.search(buffer):
            raise BadRequest("Lines have to end with CR LF.")

    def _classify(self, fields: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], _Framing]:
        headers: list[tuple[bytes, bytes]] = []
        framing = _Framing()
        seen, dropped = self._seen, self._dropped
        for name, padded in fields:
            kind = seen.get(name)
            if kind is None:
                kind = self._learn(name)
            value = padded.rstrip(b" \t")
            if kind == 0:
                headers.append((name, value))
            elif kind not in dropped:
                framing.take(kind, name, value, headers)
        if framing.named:
            headers = [pair for pair in headers if pair[0].lower() not in framing.named]
            if framing.host_at >= 0:
                framing.host_at = next(at for at, pair in enumerate(headers) if pair[0].lower() == b"host")
        return headers, framing

    def _learn(self, name: bytes) -> int:
        lower = name.lower()
        kind = _KINDS.get(lower, Kind.PASS)
        if kind is Kind.PASS and (lower in HOP_BY_HOP or lower.startswith(_FORGED)):
            kind = Kind.DROP
        if len(self._seen) > 4096:
            self._seen.clear()
        self._seen[name] = int(kind)
        return int(kind)

    def _check_sizes(self, raw: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        if raw.index(b"\r\n") > self._limits.request_line:
            raise _long_line(self._limits.request_line)
        if len(fields) > self._limits.fields:
            raise BadRequest("The request has too many headers.", 431, "too_long_http_header_exception")
        if any(len(name) + len(value) > self._limits.field for name, value in fields):
            reason = f"HTTP header is larger than {self._limits.field} bytes."
            raise BadRequest(reason, kind="too_long_http_header_exception")

    def _explain(self, raw: bytes) -> BadRequest:
        line, _, block = raw.partition(b"\r\n")
        if len(line) > self._limits.request_line:
            return _long_line(self._limits.request_line)
        if not re.fullmatch(rb"[A-Z]{1,24} [^ ]+ HTTP/1\.[01]", line):
            return BadRequest("The request line is malformed.")
        if not re.match(rb"[A-Z]{1,24} (/|\* )", line):
            return BadRequest("Only the origin form of a request target is served.")
        if re.search(rb"(\A|\r\n)[ \t]", block):
            return BadRequest("Folded headers are not served.")
        return BadRequest("A header of the request is malformed.")


def _encoding(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    return next((value for name, value in headers if name.lower() == b"content-encoding"), None)


class _Framing:
    """The headers that decide where a request ends and what becomes of its connection."""

    __slots__ = ("_coding", "_connection", "_expect", "_length", "host_at", "named")

    def __init__(self) -> None:
        self._length: bytes | None = None
        self._coding: bytes | None = None
        self.host_at = -1
        self._expect: bytes | None = None
        self._connection: set[bytes] = set()
        self.named: set[bytes] = set()

    def take(self, kind: int, name: bytes, value: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        if kind == Kind.CONNECTION:
            self._take_connection(value)
        elif kind == Kind.LENGTH:
            if self._length is not None:
                raise BadRequest("The request has several Content-Length headers.")
            self._length = value
            headers.append((name, value))
        elif kind == Kind.CODING:
            if self._coding is not None:
                raise BadRequest("The request has several Transfer-Encoding headers.")
            self._coding = value
            headers.append((name, b"chunked"))
        elif kind == Kind.HOST:
            if self.host_at >= 0:
                raise BadRequest("The request has several Host headers.")
            self.host_at = len(headers)
            headers.append((name, value))
        elif kind == Kind.EXPECT:
            self._expect = value if self._expect is None else b"?"
        else:
            headers.append((name, value))

    def _take_connection(self, value: bytes) -> None:
        for word in value.lower().split(b","):
            option = word.strip(b" \t")
            if option in (b"close", b"keep-alive", b""):
                self._connection.add(option)
            elif _DROPPED_WHEN_NAMED.match(option):
                self.named.add(option)
            else:
                raise BadRequest("The Connection header names a header that has to reach the cluster.")

    def body(self, minor: bytes) -> tuple[int | None, bool]:
        if self._coding is not None:
            if self._length is not None:
                raise BadRequest("The request has both Transfer-Encoding and Content-Length.")
            if self._coding.lower() != b"chunked" or minor == b"0":
                raise BadRequest("The only transfer coding that is served is chunked.")
            return None, True
        if self._length is None:
            return None, False
        if not _DIGITS.fullmatch(self._length):
            raise BadRequest("Content-Length value is not a number.")
        return int(self._length), False

    def keep_alive(self, minor: bytes) -> bool:
        if minor == b"1":
            return b"close" not in self._connection
        return b"keep-alive" in self._connection and b"close" not in self._connection

    def expects(self, minor: bytes) -> bool:
        if self._expect is None or minor == b"0":
            return False
        if self._expect.lower() != b"100-continue":
            raise BadRequest("The only expectation that is served is 100-continue.", 417)
        return True


def _long_line(limit: int) -> BadRequest:
    return BadRequest(f"An HTTP line is larger than {limit} bytes.", kind="too_long_http_line_exception")
