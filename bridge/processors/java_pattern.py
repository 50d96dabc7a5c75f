"""Java's regular expressions as Python's, as far as both mean the same, and Java's way to split by one."""

from __future__ import annotations

import re

from bridge.errors import InvalidRequest
from bridge.processors.pattern_cost import Endless, repeats_and_choices

_POSIX = {
    "Lower": "a-z", "Upper": "A-Z", "ASCII": r"\x00-\x7f", "Alpha": "A-Za-z", "Digit": "0-9", "Alnum": "A-Za-z0-9",
    "Punct": r"!-/:-@\[-`{-~", "Blank": r" \t", "Cntrl": r"\x00-\x1f\x7f", "XDigit": "0-9A-Fa-f",
    "Space": r" \t\n\x0b\f\r",
}  # fmt: skip
_SPACES = r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000"
_LINE_BREAK = "(?:\\r\\n|[\\n\\x0b\\f\\r\\x85\\u2028\\u2029])"
_LAST = f"(?=(?:{_LINE_BREAK})?\\Z)"
_TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|\Z)|\\p\{(?:Is)?(?P<posix>\w+)\}|\\(?P<escaped>.)|(?P<group>\(\?(?!:|=|!|<=|<!|>)[^)]*)"
    r"|(?P<nested>\[|&&)|(?P<end>\])|(?P<dot>\.)|(?P<line>[$])",
    re.DOTALL,
)
MOST_REPEATS = 3
LONGEST_TEXT = 20_000
"""Characters that an expression with repeats is tried on: the time grows with their square."""
_SAME = frozenset("dDwWsSbBtnrfaxu123456789A")


def compiled(pattern: str) -> re.Pattern[str]:
    """Raises InvalidRequest for a pattern that Java refuses, that Python reads otherwise, or that may run for ever."""
    if _repeats(pattern) > MOST_REPEATS:
        raise _unusable(pattern, "it may take too long")
    try:
        return re.compile(_translated(pattern), re.ASCII)
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise _unusable(pattern, str(error)) from None


def _repeats(pattern: str) -> int:
    try:
        return repeats_and_choices(pattern)[0]
    except Endless:
        return MOST_REPEATS + 1


def _translated(pattern: str) -> str:
    out: list[str] = []
    end = 0
    in_class = False
    for token in _TOKEN.finditer(pattern):
        out.append(pattern[end : token.start()])
        end = token.end()
        if token["nested"] == "[" and not in_class:
            in_class = True
            out.append("[")
        elif token["nested"] is not None and (in_class or token["nested"] == "["):
            # Java unites and intersects classes; Python does not.
            raise _unusable(pattern, f"{token[0]} in a character class")
        elif token["end"] is not None:
            in_class = False
            out.append("]")
        else:
            out.append(_one(pattern, token, in_class))
    out.append(pattern[end:])
    return "".join(out)


def _one(pattern: str, token: re.Match[str], in_class: bool) -> str:
    if token["quoted"] is not None:
        return re.escape(token["quoted"])
    if token["posix"] is not None:
        return _posix(pattern, token["posix"], in_class)
    if token["escaped"] is not None:
        return _escape(pattern, token["escaped"], in_class)
    if in_class or (token["group"] == "(?i" and token.start() == 0):
        return token[0]
    if token["group"] is not None:
        raise _unusable(pattern, token[0])
    # Java knows more line ends than Python does.
    if token["line"] is not None:
        return _LAST
    return "[^\\n\\r\\x85\\u2028\\u2029]" if token["dot"] is not None else token[0]


def _posix(pattern: str, name: str, in_class: bool) -> str:
    if name not in _POSIX:
        raise _unusable(pattern, name)
    return _POSIX[name] if in_class else f"[{_POSIX[name]}]"


def _escape(pattern: str, character: str, in_class: bool) -> str:
    if character == "h":
        return _SPACES if in_class else f"[{_SPACES}]"
    if character == "v":
        return "\\n\\x0b\\f\\r\\x85\\u2028\\u2029" if in_class else "[\\n\\x0b\\f\\r\\x85\\u2028\\u2029]"
    if not in_class and character in "RzZ":
        return {"R": _LINE_BREAK, "z": "\\Z", "Z": _LAST}[character]
    if character == "e":
        return "\\x1b"
    if character in _SAME or not character.isalnum():
        return "\\" + character
    raise _unusable(pattern, "\\" + character)


def _unusable(pattern: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"the regular expression [{pattern}] cannot be used after an ML processor: {problem}")


def split(pattern: re.Pattern[str], text: str, *, keep_trailing: bool) -> list[str]:
    """`String.split`: no empty part in front of an empty match at the start; empty ones at the end only if asked.

    Raises InvalidRequest for a text that is too long for an expression with repeats.
    """
    if len(text) > LONGEST_TEXT and _repeats(pattern.pattern):
        raise InvalidRequest(
            f"a text of {len(text)} characters is too long to be split by [{pattern.pattern}] after an ML processor"
        )
    parts: list[str] = []
    end = 0
    for found in pattern.finditer(text):
        if end == 0 and found.start() == found.end() == 0:
            continue
        parts.append(text[end : found.start()])
        end = found.end()
    if not parts:
        return [text]
    parts.append(text[end:])
    while not keep_trailing and parts and not parts[-1]:
        parts.pop()
    return parts
