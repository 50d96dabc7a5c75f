"""Reads a body token by token, as Jackson does, up to the first fault."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import NoReturn

from bridge.json_fault.grammar import (
    COMMENT,
    DEEPEST,
    EOF,
    EXCEEDED,
    LIMIT,
    LITERALS,
    LONGEST_NAME,
    LONGEST_NUMBER,
    LONGEST_TOKEN,
    MOST_TOKENS,
    NAME,
    NAME_ESCAPES,
    NO_PLUS,
    NOT_STANDARD,
    NUMBER,
    PARSE,
    SPACE,
    TEXT,
    VALUES,
    described,
    is_part,
    is_start,
    needed,
    source,
)


class Found(Exception):
    """`at` is what the parser calls its location; line ends count up to `seen`."""

    def __init__(self, reason: str, at: int | None, kind: str = PARSE, *, seen: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.at, self.kind = reason, at, kind
        self.seen = at if seen is None else seen


@dataclass
class Open:
    """An object or an array that is not closed yet; `names` is None for an array."""

    start: int
    names: set[str] | None
    filled: bool = False

    @property
    def kind(self) -> str:
        return "Array" if self.names is None else "Object"


def _exceeded(what: str, length: int, most: int, limit: str) -> NoReturn:
    raise Found(EXCEEDED.format(what, length, most, limit), None, LIMIT)


@dataclass
class Scan:
    """Reads on from `at` and raises Found at the first fault. `token` is the parser's current one."""

    data: bytes
    at: int
    opened: list[Open] = field(default_factory=list)
    token: str = "null"

    def run(self) -> None:
        for _ in range(MOST_TOKENS):
            self._space()
            if self.at == len(self.data):
                return self._end()
            byte, within = self.data[self.at], self.opened[-1] if self.opened else None
            if byte in b"]}":
                self._close(byte)
                continue
            if within:
                self._separated(within)
                if within.names is not None:
                    self._name(within.names)
            self._value(within)
        return None

    def _cut(self, where: str) -> NoReturn:
        raise Found(f"Unexpected end-of-input{where}", len(self.data), EOF)

    def _byte(self, at: int, where: str) -> int:
        """The byte at `at`, which the parser can't do without."""
        return self.data[at] if at < len(self.data) else self._cut(where)

    def _unexpected(self, at: int, what: str, code: int | None = None, *, number: str = "") -> NoReturn:
        raise Found(f"Unexpected character ({described(self.data[at] if code is None else code)}){number}: {what}", at)

    def _space(self) -> None:
        found = SPACE.match(self.data, self.at)
        self.at = at = found.end() if found else self.at
        byte = self.data[at] if at < len(self.data) else 0x21
        if byte == ord("/"):
            self._comment(at)
        elif byte < 0x20:
            self._illegal(at)

    def _illegal(self, at: int) -> NoReturn:
        hint = (
            " (consider enabling `JsonReadFeature.ALLOW_RS_CONTROL_CHAR` to allow use of Record Separators (\\u001E))"
        )
        reason = f"Illegal character ({described(self.data[at])}): only regular white space (\\r, \\n, \\t) is allowed"
        raise Found(f"{reason} between tokens{hint if self.data[at] == 0x1E else ''}", at + 1)

    def _comment(self, at: int) -> NoReturn:
        found = COMMENT.match(self.data, at)
        if not found:
            self._byte(at + 1, " in a comment")
            self._unexpected(at + 1, "was expecting either '*' or '/' for a comment")
        if self._byte(found.end(), " in a comment") < 0x20:
            self._illegal(found.end())
        self._char(found.end())
        raise AssertionError("the comment has no fault")

    def _char(self, at: int) -> tuple[int, int]:
        """The code of a character and where it ends."""
        lead = self.data[at]
        if lead < 0x80:
            return lead, at + 1
        more = needed(lead)
        if not more:
            raise Found(f"Invalid UTF-8 start byte 0x{lead:x}", at + 1)
        code = lead & (0x3F >> more)
        for k in range(at + 1, at + 1 + more):
            byte = self._byte(k, f" in {self.token}")
            if byte & 0xC0 != 0x80:
                raise Found(f"Invalid UTF-8 middle byte 0x{byte:x}", k + 1, seen=k)
            code = code << 6 | byte & 0x3F
        return code, at + 1 + more

    def _end(self) -> None:
        if self.opened:
            within = self.opened[-1]
            start = source(self.data, within.start, within.start)
            self._cut(f": expected close marker for {within.kind} (start marker at {start})")

    def _close(self, byte: int) -> None:
        mark, kind = chr(byte), "Object" if byte == ord("}") else "Array"
        if not self.opened:
            raise Found(f"Unexpected close marker '{mark}': no open {kind} to close", self.at)
        within = self.opened.pop()
        if within.kind != kind:
            start = source(self.data, within.start, within.start)
            other = "]" if mark == "}" else "}"
            reason = f"Unexpected close marker '{mark}': expected '{other}' (for {within.kind} starting at {start})"
            raise Found(reason, self.at)
        self.token = f"END_{kind.upper()}"
        self.at += 1

    def _separated(self, within: Open) -> None:
        if within.filled:
            if self.data[self.at] != ord(","):
                self._unexpected(self.at, f"was expecting comma to separate {within.kind} entries")
            self.at += 1
            self._space()
            if self.at == len(self.data):
                # Jackson has another type for this end than for all the others.
                raise Found(f"Unexpected end-of-input within/between {within.kind} entries", self.at)
        within.filled = True

    def _name(self, names: set[str]) -> None:
        if self.data[self.at] != ord('"'):
            code, end = self._char(self.at)
            self._unexpected(end - 1, "was expecting double-quote to start field name", code & 0xFFFF)
        found = NAME.match(self.data, self.at + 1)
        end = found.end() if found else self.at
        closing = ": was expecting closing '\"' for name" if end == self.at + 1 else " in field name"
        byte = self._byte(end, closing)
        if byte != ord('"'):
            self._bad_name(end) if byte == ord("\\") else self._unquoted(end, "name")
        raw = self.data[self.at + 1 : end]
        if b"\\" in raw:
            raw = NAME_ESCAPES.sub(_unescaped, raw)
        self.at = end + 1
        name = self._decoded(raw)
        if name in names:
            raise Found(f"Duplicate field '{name}'", self.at)
        names.add(name)
        self.token = "FIELD_NAME"
        self._space()
        if self._byte(self.at, " within/between Object entries") != ord(":"):
            self._unexpected(self.at, "was expecting a colon to separate field name and value")
        self.at += 1
        self._space()
        self._byte(self.at, " within/between Object entries")

    def _decoded(self, raw: bytes) -> str:
        """A name as text. The parser names a byte amiss together with those before it in its group of four."""
        if len(raw) > LONGEST_NAME:
            _exceeded("Name length", len(raw), LONGEST_NAME, "getMaxNameLength")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            text, at, inner = "", 0, Scan(raw, 0)
        while at < len(raw):
            more = needed(raw[at])
            if at + more >= len(raw):
                raise Found("Unexpected end-of-input in field name", self.at, EOF)
            try:
                code, end = inner._char(at)
            except Found as found:
                k = found.seen or 0
                value = int.from_bytes(raw[k & ~3 : k + 1], signed=True) & 0xFFFFFFFF
                whole = more and k != at + 3
                reason = f"Invalid UTF-8 middle byte 0x{value:x}" if whole else found.reason
                raise Found(reason, self.at) from None
            if more == 2:
                self._no_surrogate(code, self.at)
            text, at = text + chr(min(code, 0x10FFFF)), end
        return text

    def _no_surrogate(self, code: int, at: int) -> None:
        if code in range(0xD800, 0xE000):
            raise Found(f"Invalid UTF-8: Illegal surrogate character 0x{code:x}", at)

    def _unquoted(self, at: int, what: str) -> NoReturn:
        reason = f"Illegal unquoted character ({described(self.data[at])})"
        raise Found(f"{reason}: has to be escaped using backslash to be included in {what}", at)

    def _escape(self, at: int) -> tuple[int, int]:
        """The code of the escape whose backslash stands at `at`, and where it ends."""
        cut = " in character escape sequence"
        byte = self._byte(at + 1, cut)
        if byte != ord("u"):
            if byte in b'"\\/bfnrt':
                return (b"\b\f\n\r\t"[b"bfnrt".index(byte)] if byte in b"bfnrt" else byte), at + 2
            code, end = self._char(at + 1)
            raise Found(f"Unrecognized character escape {described(code & 0xFFFF)}", end - 1)
        for k in range(at + 2, at + 6):
            if self._byte(k, cut) not in b"0123456789abcdefABCDEF":
                self._unexpected(k, "expected a hex-digit for character escape sequence")
        return int(self.data[at + 2 : at + 6], 16), at + 6

    def _bad_name(self, at: int) -> NoReturn:
        code, end = self._escape(at)
        if code >= 0xDC00:
            raise Found(f"Unexpected low surrogate in field name: 0x{code:x}", end)
        broken = "Broken surrogate pair in field name: expected"
        if (byte := self._byte(end, " in field name")) != ord("\\"):
            raise Found(f"{broken} '\\' to start low surrogate, got 0x{byte:x}", end)
        code, end = self._escape(end)
        raise Found(f"{broken} low surrogate, got 0x{code:04X}", end)

    def _value(self, within: Open | None) -> None:
        byte = self.data[self.at]
        if byte == ord('"'):
            self._text()
        elif byte in b"{[":
            self.opened.append(Open(self.at, set() if byte == ord("{") else None))
            self.token = "START_OBJECT" if byte == ord("{") else "START_ARRAY"
            self.at += 1
            if len(self.opened) > DEEPEST:
                _exceeded("Document nesting depth", len(self.opened), DEEPEST, "getMaxNestingDepth")
        elif byte in b"-0123456789":
            self._number()
        elif byte in LITERALS:
            word = LITERALS[byte]
            self.at = self._word(self.at, word, 1)
            self.token = "VALUE_NULL" if word == "null" else f"VALUE_{word.upper()}"
        else:
            self._no_value(byte, within)

    def _text(self) -> None:
        self.token = "VALUE_STRING"
        found = TEXT.match(self.data, self.at + 1)
        end = found.end() if found else self.at
        byte = self._byte(end, " in VALUE_STRING")
        if byte == ord("\\"):
            self._escape(end)
        elif byte < 0x20:
            self._unquoted(end, "string value")
        elif byte != ord('"'):
            self._no_surrogate(*self._char(end))
        self.at = end + 1

    def _number(self) -> None:
        found = NUMBER.match(self.data, self.at)
        if not found:
            self._signed(self.at)
        whole, fraction, power = found.groups()
        after, end = self.data[found.end() : found.end() + 1], found.end()
        if len(whole) > 1 and whole.startswith(b"0"):
            raise Found("Invalid numeric value: Leading zeroes not allowed", found.start(1) + 1)
        if after == b"." and fraction is None and power is None:
            where = end + 1 if end + 1 < len(self.data) else end
            self._unexpected(where, "Decimal point not followed by a digit", number=" in numeric value")
        if after in (b"e", b"E") and power is None:
            signed = self._byte(end + 1, f" in {self.token}") in b"+-"
            self._byte(end + 1 + signed, f" in {self.token}")
            what = "Exponent indicator not followed by a digit"
            self._unexpected(end + 1 + signed, what, number=" in numeric value")
        if not self.opened and after not in (b"", b" ", b"\t", b"\r", b"\n"):
            self._unexpected(end, "Expected space separating root-level values")
        if (length := len(whole) + len(fraction or b"") + len(power or b"")) > LONGEST_NUMBER:
            _exceeded("Number value length", length, LONGEST_NUMBER, "getMaxNumberLength")
        self.token = "VALUE_NUMBER_INT" if fraction is None and power is None else "VALUE_NUMBER_FLOAT"
        self.at = end

    def _signed(self, at: int) -> NoReturn:
        """A sign that no digit follows, or a plus."""
        minus = self.data[at] == ord("-")
        where = f" in {self.token}" if minus else " in a Number value"
        code, at_code = self._byte(at + 1, where), at + 1
        if minus and code == ord("."):
            self._unexpected(at_code, f"expected a valid value {VALUES}")
        if code == ord("I"):
            code, at_code = self._byte(at + 2, " in a Number value"), at + 2
            if code in b"Nn":
                word = chr(self.data[at]) + ("INF" if code == ord("N") else "Infinity")
                raise Found(NOT_STANDARD.format(word), self._word(at, word, 3))
            # Java's bytes have a sign.
            code -= 256 if code > 0x7F else 0
        what = "expected digit (0-9) to follow minus sign, for valid numeric value" if minus else NO_PLUS
        self._unexpected(at_code, what, code if minus else ord("+"), number=" in numeric value")

    def _word(self, at: int, word: str, known: int) -> int:
        """Where `word` ends, which stands at `at` and whose first `known` characters were seen."""
        while known < len(word):
            if self.data[at + known : at + known + 1] != word[known].encode():
                self._unknown(at, word[:known])
            known += 1
        end = at + known
        byte = self.data[end] if end < len(self.data) else 0
        if byte > 0x7F:
            # The parser takes this byte for the one after it.
            reason = f"Invalid UTF-8 middle byte 0x{byte:x}" if needed(byte) else f"Invalid UTF-8 start byte 0x{byte:x}"
            raise Found(reason, end + 1 if needed(byte) else end)
        if byte >= ord("0") and is_part(chr(byte)):
            self._unknown(at, word)
        return end

    def _unknown(self, start: int, token: str) -> NoReturn:
        at = start + len(token)
        while at < len(self.data):
            code, at = self._char(at)
            if not is_part(chr(code & 0xFFFF)):
                break
            token += chr(code & 0xFFFF)
            if len(token) >= LONGEST_TOKEN:
                token += "..."
                break
        raise Found(f"Unrecognized token '{token}': was expecting {VALUES}", start)

    def _no_value(self, byte: int, within: Open | None) -> NoReturn:
        if byte in b",}" or (byte == ord("]") and within and within.names is None):
            self._unexpected(self.at, "expected a value")
        if byte in b"NI":
            word = "NaN" if byte == ord("N") else "Infinity"
            raise Found(NOT_STANDARD.format(word), self._word(self.at, word, 1))
        if byte == ord("+"):
            self._signed(self.at)
        if is_start(chr(byte)):
            self._unknown(self.at, chr(byte))
        self._unexpected(self.at, f"expected a valid value {VALUES}")


def _unescaped(found: re.Match[bytes]) -> bytes:
    text: str = json.loads(b'"%s"' % found[0])
    return text.encode()
