"""Filters of Jayway's JSONPath: `@.n > 1 && (@.name == 'x' || !@.z)`, as a predicate over a value and the root."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from bridge.errors import InvalidRequest
from bridge.processors.jsonpath_nodes import Predicate, is_number
from bridge.processors.jsonpath_pattern import Pattern, pattern_of

ABSENT: Any = object()
"""What a path in a filter gives where nothing is."""

Operand: TypeAlias = Callable[[Any, Any], Any]
ReadPath: TypeAlias = Callable[[str], Operand]
"""Compiles a path that begins with `@` or `$`; the operand gives ABSENT where it finds nothing."""

_PATH = re.compile(
    r"[@$](?:\.\.?[^\s.\[\]()&|!=<>~,]+(?:\(\))?|\[(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\]])*\])*"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_PATTERN = re.compile(r"/((?:[^/\\]|\\.)*)/([a-zA-Z]*)")
_WORD = re.compile(r"true\b|false\b|null\b")
_OPERATOR = re.compile(r"===|!==|==|!=|<=|>=|=~|<|>|(?:(?i:nin|in|subsetof|anyof|noneof|all|contains|size|empty)\b)")
_WORDS = {"true": True, "false": False, "null": None}


def invalid(reason: str) -> InvalidRequest:
    """A path that can't be read."""
    return InvalidRequest(reason, kind="invalid_path_exception")


def filter_of(text: str, read_path: ReadPath) -> Predicate:
    """The predicate of what stands between `[?(` and `)]`. Raises InvalidRequest."""
    reader = _Reader(text, read_path)
    found = reader.either()
    reader.end()
    return found


class _Reader:
    """Recursive descent: either = both {`||` both}; both = one {`&&` one}; one = [`!`] `(` either `)` | comparison."""

    def __init__(self, text: str, read_path: ReadPath) -> None:
        self._text = text
        self._at = 0
        self._read_path = read_path

    def either(self) -> Predicate:
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda item, root: any(part(item, root) for part in parts)

    def _both(self) -> Predicate:
        parts = [self._one()]
        while self._take("&&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda item, root: all(part(item, root) for part in parts)

    def _one(self) -> Predicate:
        if self._take("!"):
            part = self._one()
            return lambda item, root: not part(item, root)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise invalid(f"Filter is not closed: {self._text}")
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        left = self._operand()
        self._blanks()
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            return lambda item, root: left(item, root) is not ABSENT
        self._at = operator.end()
        right = self._operand()
        compare = COMPARISONS[operator[0].lower()]
        return lambda item, root: compare(left(item, root), right(item, root))

    def _operand(self) -> Operand:
        self._blanks()
        for pattern in (_PATH, _TEXT, _WORD, _NUMBER, _PATTERN):
            found = pattern.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                return self._made(pattern, found)
        return self._literal()

    def _made(self, pattern: re.Pattern[str], found: re.Match[str]) -> Operand:
        if pattern is _PATH:
            return self._read_path(found[0])
        if pattern is _TEXT:
            return _constant(_unescaped(found[1] if found[1] is not None else found[2]))
        if pattern is _WORD:
            return _constant(_WORDS[found[0]])
        return _constant(Decimal(found[0]) if pattern is _NUMBER else pattern_of(found[1], found[2]))

    def _literal(self) -> Operand:
        try:
            value, end = json.JSONDecoder().raw_decode(self._text.replace("'", '"'), self._at)
        except ValueError:
            raise invalid(f"Failed to parse filter: [?({self._text})], error on position: {self._at}") from None
        self._at = end
        return _constant(value)

    def end(self) -> None:
        self._blanks()
        if self._at < len(self._text):
            raise invalid(f"Expected end of filter expression instead of: {self._text[self._at :]}")

    def _take(self, word: str) -> bool:
        self._blanks()
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def _blanks(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1


def _constant(value: Any) -> Operand:
    return lambda item, root: value


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        return value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None


def _equal(left: Any, right: Any) -> bool:
    if left is ABSENT or right is ABSENT:
        return left is right
    if is_number(left):
        return _decimal(right) == _decimal(left)
    if isinstance(left, str) and is_number(right):
        return left == str(right)
    return type(left) is type(right) and bool(left == right)


def _same(left: Any, right: Any) -> bool:
    return (type(left) is type(right) or (is_number(left) and is_number(right))) and _equal(left, right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(left: Any, right: Any) -> bool:
        if is_number(left) and is_number(right):
            return compare(_decimal(left), _decimal(right))
        return isinstance(left, str) and isinstance(right, str) and compare(left, right)

    return compared


def _holds(values: Any, value: Any) -> bool:
    return isinstance(values, list) and any(_equal(value, item) for item in values)


def _contains(left: Any, right: Any) -> bool:
    return right in left if isinstance(left, str) and isinstance(right, str) else _holds(left, right)


def _matches(left: Any, right: Any) -> bool:
    if isinstance(left, Pattern):
        left, right = right, left
    if not isinstance(right, Pattern):
        return False
    return any(right.matches(_input(item)) for item in (left if isinstance(left, list) else [left]))


def _input(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str) or is_number(value) else ""


def _sized(left: Any, right: Any) -> bool:
    return isinstance(left, str | list | dict) and is_number(right) and len(left) == int(right)


def _empty(left: Any, right: Any) -> bool:
    return isinstance(left, str | list | dict) and (not left) is right


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "===": _same,
    "!==": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "=~": _matches,
    "in": lambda left, right: _holds(right, left),
    "nin": lambda left, right: not _holds(right, left),
    "subsetof": lambda left, right: isinstance(left, list) and all(_holds(right, item) for item in left),
    "anyof": lambda left, right: isinstance(left, list) and any(_holds(right, item) for item in left),
    "noneof": lambda left, right: isinstance(left, list) and not any(_holds(right, item) for item in left),
    "all": lambda left, right: isinstance(left, list) and all(_holds(left, item) for item in right or []),
    "contains": _contains,
    "size": _sized,
    "empty": _empty,
}
