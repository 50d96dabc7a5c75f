"""Looks for words of ours in the bytes of a body, without decoding JSON."""

from __future__ import annotations

import re
import zlib

# A letter of ASCII may be written as an escape (`\u006e` in JSON, `\x6e` in YAML): whoever does that gets a closer
# look. An escaped accent (`\u00e9`, as many writers make it) is no reason.
_ESCAPED_LETTER = re.compile(rb"\\(?:u00[4-7]|x[4-7]|U000000[4-7])")
_BLOCK = 65_536


def suspicious(body: bytes | bytearray, words: tuple[bytes, ...], coding: bytes | None, limit: int) -> bool:
    """Whether `body`, inflated up to `limit` bytes when `coding` says so, may hold one of `words`.

    What can't be looked into (an unknown coding, UTF-16, more than `limit`) is suspicious.
    """
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        plain = _inflate(body, coding.strip().lower(), limit)
        if plain is None:
            return True
        body = plain
    for word in words:
        if word in body:
            return True
    if b"\\" in body and _ESCAPED_LETTER.search(body):
        return True
    return b"\0" in body


def _inflate(body: bytes | bytearray, coding: bytes, limit: int) -> bytes | None:
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        return None
    plain: list[bytes] = []
    size = 0
    while body:
        inflater = zlib.decompressobj(wbits=47 if coding != b"deflate" or body[0] & 0x0F == 8 else -15)
        try:
            while body and not inflater.eof:
                block = inflater.decompress(body, _BLOCK)
                body = inflater.unconsumed_tail
                size += len(block)
                if size > limit:
                    return None
                plain.append(block)
            plain.append(inflater.flush(_BLOCK))
        except zlib.error:
            return None
        body = inflater.unused_data
    return b"".join(plain)
