"""What Jackson takes for white space, names, texts, numbers and identifiers, and its words for what is none."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

PARSE: Final = "json_parse_exception"
EOF: Final = "json_e_o_f_exception"
LIMIT: Final = "stream_constraints_exception"
SOURCE: Final = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]"
VALUES: Final = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
NO_PLUS: Final = (
    "JSON spec does not allow numbers to have plus signs: "
    "enable `JsonReadFeature.ALLOW_LEADING_PLUS_SIGN_FOR_NUMBERS` to allow"
)
NOT_STANDARD: Final = "Non-standard token '{}': enable `JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow"
EXCEEDED: Final = "{} ({}) exceeds the maximum allowed ({}, from `StreamReadConstraints.{}()`)"

MOST_BYTES, MOST_TOKENS = 8 * 1024 * 1024, 50_000
"""Longer bodies, and what comes after so many tokens, are not judged: it would take more than some tenths of a second,
in which nobody else is answered."""
DEEPEST, LONGEST_NUMBER, LONGEST_NAME, LONGEST_TOKEN = 1000, 1000, 50_000, 256

# Possessive, so that sre neither backtracks nor remembers where it could.
_MULTI: Final = rb"[\xc0-\xdf][\x80-\xbf]|%s[\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}"
_THREE: Final = rb"(?:[\xe0-\xec\xee\xef]|\xed(?![\xa0-\xbf]))"
_ESCAPE: Final = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_NAME_ESCAPE: Final = (
    rb'\\(?:["\\/bfnrt]|u(?:(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
TEXT = re.compile(rb'(?:[^"\\\x00-\x1f\x80-\xff]++|%s|%s)*+' % (_ESCAPE, _MULTI % _THREE))
NAME = re.compile(rb'(?:[^"\\\x00-\x1f]++|%s)*+' % _NAME_ESCAPE)
NAME_ESCAPES = re.compile(_NAME_ESCAPE)
_IN_LINE: Final = rb"//(?:[^\x00-\x08\x0a-\x1f\x80-\xff]++|%s)*+" % (_MULTI % rb"[\xe0-\xef]")
_IN_BLOCK: Final = rb"/\*(?:[^\x00-\x08\x0b\x0c\x0e-\x1f\x80-\xff*]++|\*(?!/)|%s)*+" % (_MULTI % rb"[\xe0-\xef]")
COMMENT = re.compile(rb"%s|%s" % (_IN_LINE, _IN_BLOCK))
SPACE = re.compile(rb"(?:[ \t\r\n]++|%s(?:[\r\n]|\Z)|%s\*/)*+" % (_IN_LINE, _IN_BLOCK))
NUMBER = re.compile(rb"-?([0-9]++)(?:\.([0-9]++))?+(?:[eE][+-]?([0-9]++))?+")
LITERALS: Final = {ord("t"): "true", ord("f"): "false", ord("n"): "null"}


def source(data: bytes, at: int, seen: int) -> str:
    """What the parser calls a location; line ends count up to `seen`."""
    before = data[:seen]
    row = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
    lines = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
    return SOURCE.format(lines + 1, at - row + 1)


def described(code: int) -> str:
    """A character as the parser names it."""
    if code in range(0x20) or code in range(0x7F, 0xA0):
        return f"(CTRL-CHAR, code {code})"
    return f"'{chr(code & 0xFFFF)}' (code {code}{f' / 0x{code:x}' if code > 255 else ''})"


def is_start(char: str) -> bool:
    """Java's `Character.isJavaIdentifierStart`."""
    return unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nl", "Sc", "Pc")


def is_part(char: str) -> bool:
    """Java's `Character.isJavaIdentifierPart`."""
    ignored = unicodedata.category(char) == "Cc" and char not in "\t\n\v\f\r\x1c\x1d\x1e\x1f"
    return ignored or is_start(char) or unicodedata.category(char) in ("Nd", "Mc", "Mn", "Cf")


def needed(lead: int) -> int:
    """How many bytes follow the first of a character; 0 for what is no first byte."""
    return next((n for n, mask, mark in ((1, 0xE0, 0xC0), (2, 0xF0, 0xE0), (3, 0xF8, 0xF0)) if lead & mask == mark), 0)
