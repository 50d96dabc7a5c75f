"""JSONPath as Jayway's library 2.9.0 reads it, which ML Commons uses: its grammar and results on jsonpath-ng's tree.

Rules: contract/processors.md section 5; tests/unit/processors/test_jsonpath.py holds the outcomes recorded from the
real server. A path is definite when it can have one result only (`a.b[0]`); others give a list. The leading `$` is
optional.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

from jsonpath_ng.jsonpath import Child, DatumInContext, Descendants, Index, JSONPath, Root, Wildcard

from bridge.errors import InvalidRequest
from bridge.processors.jsonpath_filter import ABSENT, Operand, filter_of, invalid
from bridge.processors.jsonpath_nodes import FUNCTIONS, Call, Filtered, FilteredBelow, Member, Members, Predicate, Range
from bridge.wire import loads_exact

REMEMBERED = 2048
"""Paths kept compiled; they come from configurations, and from nothing that a search brings."""

_NAME = re.compile(r"[^\s.\[(]+")
_QUOTED = re.compile(
    r"\[\s*(?:('(?:[^'\\]|\\.)*'(?:\s*,\s*'(?:[^'\\]|\\.)*')*)|(\"(?:[^\"\\]|\\.)*\"(?:\s*,\s*\"(?:[^\"\\]|\\.)*\")*))\s*\]"
)
_ONE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_PLACES = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]")
_RANGE = re.compile(r"\[\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(?::[-\d:]*)?\]")
_EVERY = re.compile(r"\[\s*\*\s*\]")
_FILTER = re.compile(r"\[\s*\?\s*\(")
_COUNTING = ("length", "size")


class _Argument(Protocol):
    """An argument of a function; with `strict` a path that leads nowhere raises PathNotFound."""

    def __call__(self, root: Any, *, strict: bool) -> Any: ...


@dataclass(frozen=True)
class _Names:
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Places:
    places: tuple[int, ...]


@dataclass(frozen=True)
class _Between:
    start: int | None
    stop: int | None


@dataclass(frozen=True)
class _Every:
    pass


@dataclass(frozen=True)
class _Deep:
    pass


@dataclass(frozen=True)
class _Where:
    predicate: Predicate


@dataclass(frozen=True)
class _Function:
    name: str
    arguments: tuple[_Argument, ...]


_Step = _Names | _Places | _Between | _Every | _Deep | _Where | _Function


class PathNotFound(LookupError):
    """Nothing stands at a path."""


class Path:
    """A compiled path. Documents are JSON values; none is changed but by `put`."""

    def __init__(self, text: str, steps: Sequence[_Step]) -> None:
        self.text = text
        self.definite = _definite(steps)
        self._function = bool(steps) and isinstance(steps[-1], _Function)
        self._strict = _tree(steps, defaults=False)
        self._lenient = _tree(steps, defaults=True)
        first = next((at for at in range(len(steps)) if not _definite(steps[: at + 1])), len(steps))
        self._certain = _tree(steps[:first], defaults=False)
        self._indefinite = steps[first] if first < len(steps) else None

    def read(self, document: Any, *, nulls: bool = False) -> Any:
        """The value, or None where nothing is; an indefinite path gives a list, which may be empty.

        With `nulls` an absent member at the end of the path counts as null, so that an indefinite path gives one null
        for each object that lacks it. Raises InvalidRequest where a function can't be applied.
        """
        try:
            found = [datum.value for datum in (self._lenient if nulls else self._strict).find(document)]
        except PathNotFound:
            return None
        return (found[-1] if found else None) if self.definite else found

    def require(self, document: Any) -> Any:
        """The value; null is one. Raises PathNotFound, also where what an indefinite path starts from is missing."""
        if self.definite:
            found = self._strict.find(document)
            if not found:
                raise PathNotFound(self.text)
            return found[-1].value
        start = self._certain.find(document)
        if not start or not _may_start(self._indefinite, start[-1].value):
            raise PathNotFound(self.text)
        return [datum.value for datum in self._strict.find(document)]

    def exists(self, document: Any) -> bool:
        """Whether `require` would find something."""
        try:
            self.require(document)
        except PathNotFound:
            return False
        return True

    def put(self, document: Any, value: Any) -> None:
        """Set every place of `document` that the path finds, in place; an absent member at its end is made."""
        for datum in self._lenient.find(document):
            _put(datum, value)


def _put(datum: DatumInContext, value: Any) -> None:
    if datum.context is None:
        return
    if isinstance(datum.path, Member):
        datum.context.value[datum.path.name] = value
    elif isinstance(datum.path, Members):
        datum.context.value.update(dict.fromkeys(datum.path.names, value))
    elif isinstance(datum.path, Index):
        datum.context.value[datum.path.indices[0]] = value
    elif hasattr(datum.path, "fields"):
        datum.context.value[datum.path.fields[0]] = value


@lru_cache(maxsize=REMEMBERED)
def path_of(text: str) -> Path:
    """Compile a path. Raises InvalidRequest of type invalid_path_exception (the real server answers 500)."""
    try:
        return Path(text, _Grammar(text).steps())
    except RecursionError:
        raise invalid("Path is nested too deeply") from None


def _definite(steps: Sequence[_Step]) -> bool:
    return _inverted(steps) or all(_is_definite(step, at == len(steps) - 1) for at, step in enumerate(steps))


def _is_definite(step: _Step, last: bool) -> bool:
    if isinstance(step, _Names):
        return last or len(step.names) == 1
    return isinstance(step, _Function) or (isinstance(step, _Places) and len(step.places) == 1)


def _may_start(step: _Step | None, value: Any) -> bool:
    """Whether the first indefinite step of a path finds something that it can be applied to."""
    if isinstance(step, _Places | _Between):
        return isinstance(value, list)
    if isinstance(step, _Where):
        return isinstance(value, list | dict)
    return isinstance(value, dict) if isinstance(step, _Names) else True


def _inverted(steps: Sequence[_Step]) -> bool:
    """Whether Jayway turns the path around: `$..n.sum()` is `$.sum($..n)`."""
    return len(steps) > 1 and isinstance(steps[-1], _Function) and isinstance(steps[0], _Deep)


def _tree(steps: Sequence[_Step], *, defaults: bool) -> JSONPath:
    last_step = steps[-1] if steps else None
    if isinstance(last_step, _Function) and _inverted(steps):
        below = _tree([*steps[:-1], *([_Every()] if last_step.name in _COUNTING else [])], defaults=False)
        return Call(last_step.name, [lambda root: [datum.value for datum in below.find(root)]])
    found: JSONPath = Root()
    deep = False
    for at, step in enumerate(steps):
        if isinstance(step, _Deep):
            deep = True
            continue
        last = at == len(steps) - 1
        node = _node(step, last=last, default=defaults and last, deep=deep)
        found = Descendants(found, node) if deep else Child(found, node)
        deep = False
    return found


def _node(step: _Step, *, last: bool, default: bool, deep: bool) -> JSONPath:
    match step:
        case _Names((name,)):
            node: JSONPath = Member(name, default=default)
        case _Names(names):
            node = Members(names, last=last, default=default)
        case _Places(places):
            node = Index(*places)
        case _Between(start, stop):
            node = Range(start, stop)
        case _Where(predicate):
            node = FilteredBelow(predicate) if deep else Filtered(predicate)
        case _Function(name, arguments):
            node = Call(name, [partial(argument, strict=not default) for argument in arguments])
        case _:
            node = Wildcard()
    return node


class _Grammar:
    """Reads the text of one path. Raises InvalidRequest."""

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        if not stripped:
            raise invalid("json can not be null or empty")
        if stripped.endswith("."):
            raise invalid("Path must not end with a '.' or '..'")
        self._text = stripped if stripped[0] in "$@" else "$." + text.rstrip()
        self._at = 1

    def steps(self) -> tuple[_Step, ...]:
        found: list[_Step] = []
        while self._at < len(self._text):
            found += self._bracket() if self._text[self._at] == "[" else self._dotted()
        return tuple(found)

    def _dotted(self) -> list[_Step]:
        if self._text[self._at] != ".":
            raise invalid(f"Illegal character at position {self._at} expected '.' or '['")
        deep = self._text.startswith("..", self._at)
        self._at += 2 if deep else 1
        step = self._word()
        return [_Deep(), *step] if deep else step

    def _word(self) -> list[_Step]:
        here = self._text[self._at : self._at + 1]
        if here == "[":
            return self._bracket()
        if here == "*":
            self._at += 1
            return [_Every()]
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise invalid(f"Could not parse token starting at position {self._at}")
        self._at = name.end()
        following = self._text[self._at : self._at + 1]
        if following == "(":
            return [self._function(name[0])]
        if following.isspace():
            raise invalid(
                f"Use bracket notion ['my prop'] if your property contains blank characters. position: {name.start()}"
            )
        return [_Names((name[0],))]

    def _bracket(self) -> list[_Step]:
        if _FILTER.match(self._text, self._at):
            return [self._filter()]
        for pattern, made in (
            (_QUOTED, _quoted),
            (_PLACES, lambda found: _Places(tuple(int(place) for place in found[1].split(",")))),
            (_RANGE, _between),
            (_EVERY, lambda found: _Every()),
        ):
            found = pattern.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                step: _Step = made(found)
                return [step]
        raise invalid(f"Could not parse token starting at position {self._at}. Expected ?, ', 0-9, * ")

    def _filter(self) -> _Step:
        start = self._text.index("(", self._at) + 1
        end = self._closing(start)
        after = self._text[end + 1 :].lstrip()
        if not after.startswith("]"):
            raise invalid(f"Could not parse token starting at position {self._at}. Expected ?, ', 0-9, * ")
        self._at = len(self._text) - len(after) + 1
        return _Where(filter_of(self._text[start:end], _operand))

    def _closing(self, start: int) -> int:
        """Where the parenthesis closes that was opened before `start`; quoted ones do not count."""
        depth, quote, at = 1, "", start
        while at < len(self._text):
            here = self._text[at]
            if here == "\\":
                at += 1
            elif quote:
                quote = "" if here == quote else quote
            elif here in "'\"":
                quote = here
            else:
                depth += {"(": 1, ")": -1}.get(here, 0)
            if depth == 0:
                return at
            at += 1
        raise invalid(f"Arguments to function: '{self._text[self._at : start - 1]}' are not closed properly.")

    def _function(self, name: str) -> _Step:
        start = self._at + 1
        end = self._closing(start)
        self._at = end + 1
        if name not in FUNCTIONS:
            raise invalid(f"Function with name: {name} does not exist.")
        return _Function(name, tuple(_argument(name, text) for text in _split(self._text[start:end])))


def _quoted(found: re.Match[str]) -> _Step:
    names = [one[1] if one[1] is not None else one[2] for one in _ONE_QUOTED.finditer(found[0])]
    return _Names(tuple(re.sub(r"\\(.)", r"\1", name) for name in names))


def _between(found: re.Match[str]) -> _Step:
    start, stop = (None if bound is None else int(bound) for bound in found.groups())
    if start is None and stop is None:
        raise invalid("Failed to parse SliceOperation: :")
    return _Between(start, stop)


def _operand(text: str) -> Operand:
    """A path inside a filter: `@` starts at the value under test, `$` at the root."""
    path = path_of("$" + text[1:])
    rooted = text.startswith("$")

    def value(item: Any, root: Any) -> Any:
        try:
            return path.require(root if rooted else item)
        except PathNotFound:
            return ABSENT

    return value


def _split(arguments: str) -> list[str]:
    """The arguments of a function; commas inside of quotes or brackets do not part them."""
    found, depth, quote, start = [], 0, "", 0
    for at, here in enumerate(arguments):
        if quote:
            quote = "" if here == quote else quote
        elif here in "'\"":
            quote = here
        elif here in "([{":
            depth += 1
        elif here in ")]}":
            depth -= 1
        elif here == "," and depth == 0:
            found.append(arguments[start:at])
            start = at + 1
    last = arguments[start:]
    return [argument.strip() for argument in [*found, last] if argument.strip()]


def _argument(function: str, text: str) -> _Argument:
    if text[0] in "$@":
        # The length of what a path finds is the number of its children.
        path = path_of("$" + text[1:] + ("[*]" if function in _COUNTING else ""))
        return lambda root, *, strict: path.require(root) if strict else path.read(root)
    try:
        value = loads_exact(text)
    except InvalidRequest as error:
        raise invalid(f"Could not parse the argument {text}") from error
    return lambda root, *, strict: value
