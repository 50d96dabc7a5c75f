"""The grammar of Jayway's JSONPath: a path's text as steps, which `bridge/processors/jsonpath.py` gives a meaning."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from bridge.errors import InvalidRequest
from bridge.processors.jsonpath_filter import ABSENT, Operand, filter_of, invalid
from bridge.processors.jsonpath_nodes import FUNCTIONS, PathNotFound, Predicate
from bridge.wire import loads_exact

_NAME = re.compile(r"[^\s.\[(]+")
_QUOTED = re.compile(
    r"\[\s*(?:('(?:[^'\\]|\\.)*'(?:\s*,\s*'(?:[^'\\]|\\.)*')*)|(\"(?:[^\"\\]|\\.)*\"(?:\s*,\s*\"(?:[^\"\\]|\\.)*\")*))\s*\]"
)
_ONE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_PLACES = re.compile(r"\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]")
_RANGE = re.compile(r"\[\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(?::[-\d:]*)?\]")
_EVERY = re.compile(r"\[\s*\*\s*\]")
_FILTER = re.compile(r"\[\s*\?\s*\(")
COUNTING = ("length", "size")
"""Functions that count the children of what their path finds."""
LONGEST = 250
"""Steps of a path; a walk down the tree that is made of them takes a call for each."""


class Readable(Protocol):
    """A compiled path within a path."""

    def read(self, document: Any) -> Any: ...

    def require(self, document: Any) -> Any: ...


Compile: TypeAlias = Callable[[str], Readable]


class Argument(Protocol):
    """An argument of a function; with `strict` a path that leads nowhere raises PathNotFound."""

    def __call__(self, root: Any, *, strict: bool) -> Any: ...


@dataclass(frozen=True)
class Names:
    """Members of an object, one or several."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """Elements of a list; negative ones count from its end."""

    places: tuple[int, ...]


@dataclass(frozen=True)
class Between:
    """A slice of a list."""

    start: int | None
    stop: int | None


@dataclass(frozen=True)
class Every:
    """`*`."""


@dataclass(frozen=True)
class Deep:
    """`..`: what follows applies at every depth."""


@dataclass(frozen=True)
class Where:
    """`[?(...)]`."""

    predicate: Predicate


@dataclass(frozen=True)
class Function:
    """`name(...)`."""

    name: str
    arguments: tuple[Argument, ...]


Step: TypeAlias = Names | Places | Between | Every | Deep | Where | Function


def steps_of(text: str, compile_path: Compile) -> tuple[Step, ...]:
    """Read a path; those in its filters and functions are compiled by `compile_path`. Raises InvalidRequest."""
    found = _Grammar(text, compile_path).steps()
    if len(found) > LONGEST:
        raise invalid(f"A path may have {LONGEST} steps, not {len(found)}")
    return found


class _Grammar:
    """Reads the text of one path. Raises InvalidRequest."""

    def __init__(self, text: str, compile_path: Compile) -> None:
        stripped = text.strip()
        if not stripped:
            raise invalid("json can not be null or empty")
        if stripped.endswith("."):
            raise invalid("Path must not end with a '.' or '..'")
        self._text = stripped if stripped[0] in "$@" else "$." + text.rstrip()
        self._at = 1
        self._compile = compile_path

    def steps(self) -> tuple[Step, ...]:
        found: list[Step] = []
        while self._at < len(self._text):
            found += self._bracket() if self._text[self._at] == "[" else self._dotted()
        return tuple(found)

    def _dotted(self) -> list[Step]:
        if self._text[self._at] != ".":
            raise invalid(f"Illegal character at position {self._at} expected '.' or '['")
        deep = self._text.startswith("..", self._at)
        self._at += 2 if deep else 1
        step = self._word()
        return [Deep(), *step] if deep else step

    def _word(self) -> list[Step]:
        here = self._text[self._at : self._at + 1]
        if here == "[":
            return self._bracket()
        if here == "*":
            self._at += 1
            return [Every()]
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
        return [Names((name[0],))]

    def _bracket(self) -> list[Step]:
        if _FILTER.match(self._text, self._at):
            return [self._filter()]
        for pattern, made in (
            (_QUOTED, _quoted),
            (_PLACES, lambda found: Places(tuple(int(place) for place in found[1].split(",")))),
            (_RANGE, _between),
            (_EVERY, lambda found: Every()),
        ):
            found = pattern.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                step: Step = made(found)
                return [step]
        raise invalid(f"Could not parse token starting at position {self._at}. Expected ?, ', 0-9, * ")

    def _filter(self) -> Step:
        start = self._text.index("(", self._at) + 1
        end = self._closing(start)
        after = self._text[end + 1 :].lstrip()
        if not after.startswith("]"):
            raise invalid(f"Could not parse token starting at position {self._at}. Expected ?, ', 0-9, * ")
        self._at = len(self._text) - len(after) + 1
        return Where(filter_of(self._text[start:end], partial(_operand, self._compile)))

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

    def _function(self, name: str) -> Step:
        start = self._at + 1
        end = self._closing(start)
        self._at = end + 1
        if name not in FUNCTIONS:
            raise invalid(f"Function with name: {name} does not exist.")
        return Function(name, tuple(_argument(self._compile, name, text) for text in _split(self._text[start:end])))


def _quoted(found: re.Match[str]) -> Step:
    names = [one[1] if one[1] is not None else one[2] for one in _ONE_QUOTED.finditer(found[0])]
    return Names(tuple(re.sub(r"\\(.)", r"\1", name) for name in names))


def _between(found: re.Match[str]) -> Step:
    start, stop = (None if bound is None else int(bound) for bound in found.groups())
    if start is None and stop is None:
        raise invalid("Failed to parse SliceOperation: :")
    return Between(start, stop)


def _operand(compile_path: Compile, text: str) -> Operand:
    """A path inside a filter: `@` starts at the value under test, `$` at the root."""
    path = compile_path("$" + text[1:])
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


def _argument(compile_path: Compile, function: str, text: str) -> Argument:
    if text[0] in "$@":
        # The length of what a path finds is the number of its children.
        path = compile_path("$" + text[1:] + ("[*]" if function in COUNTING else ""))
        return lambda root, *, strict: path.require(root) if strict else path.read(root)
    try:
        value = loads_exact(text)
    except InvalidRequest as error:
        raise invalid(f"Could not parse the argument {text}") from error
    return lambda root, *, strict: value
