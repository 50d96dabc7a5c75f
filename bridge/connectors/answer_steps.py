"""The steps of a path into an answer: what each picks from a value, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext.filter import And, Expression, Filter, Or
from jsonpath_ng.ext.parser import parse
from jsonpath_ng.jsonpath import Child, Fields, Index, JSONPath, This

from bridge.connectors.answer_words import failed, is_container, java_class, java_text, no_path
from bridge.errors import InvalidRequest

MOST_WORK = 2_000_000
"""Units of work for one evaluation: about 50 ms."""
_NODE = 32
_PICK = 16
_COMPARISON = 200
_CHARACTERS = 64
_NOT_FOUND = "path_not_found_exception"


class Work:
    """Counts what an evaluation looks at. One unit is about one element of an array that is passed over."""

    def __init__(self, most: int = MOST_WORK) -> None:
        self._most = most
        self.spent = 0

    def spend(self, units: int) -> None:
        """Raises InvalidRequest beyond the limit."""
        self.spent += units
        if self.spent > self._most:
            raise InvalidRequest("The JSON path looks at too many values of the answer: name the part that is wanted")

    def pick(self, found: Sequence[Any]) -> None:
        """For one application of a step and what it found."""
        self.spend(_PICK + len(found))

    def visit(self, members: Sequence[Any]) -> None:
        """For passing over the members of an object or array."""
        self.spend(_NODE + len(members))

    def weigh(self, members: Sequence[Any]) -> None:
        """For writing the texts among them."""
        self.spend(sum([len(member) for member in members if type(member) is str]) // _CHARACTERS)


@dataclass(frozen=True)
class Place:
    """Where a step stands: the definite path before it (None behind anything indefinite, where what does not fit is
    skipped), the rest of the path with it, and whether it is the last."""

    path: str | None
    rest: str
    leaf: bool


class Selector(Protocol):
    """What stands between two dots."""

    @property
    def text(self) -> str:
        """As failures show it."""

    def definite(self, *, leaf: bool) -> bool:
        """Whether it gives one value at most."""

    def suits(self, value: Any, *, leaf: bool) -> bool:
        """Whether a deep scan applies it to this object or array."""

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        """What it takes from a value. Raises EngineError where the value before it had to fit."""


@dataclass(frozen=True)
class Names:
    """`.a`, `['a']`; several at the end of a path give one object."""

    names: tuple[str, ...]

    @property
    def text(self) -> str:
        return "[" + ",".join(f"'{name}'" for name in self.names) + "]"

    def definite(self, *, leaf: bool) -> bool:
        return leaf or len(self.names) == 1

    def suits(self, value: Any, *, leaf: bool) -> bool:
        return isinstance(value, dict) and (not self.definite(leaf=leaf) or all(name in value for name in self.names))

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        if not isinstance(value, dict):
            if place.path is None:
                return []
            raise failed(
                _NOT_FOUND,
                f"Expected to find an object with property {self.text} in path {place.path} but found"
                f" '{java_class(value)}'. This is not a json object according to the JsonProvider:"
                " 'com.jayway.jsonpath.spi.json.JsonSmartJsonProvider'.",
            )
        found = {name: value[name] for name in self.names if name in value}
        if len(self.names) > 1 and place.leaf:
            return [found]
        if not found and not place.leaf and place.path is not None and len(self.names) == 1:
            raise failed(_NOT_FOUND, f"Missing property in path {place.path}{self.text}")
        return list(found.values())


@dataclass(frozen=True)
class Indexes:
    """`[0]`, `[-1]`, `[0,2]`; numbers beyond the array give nothing."""

    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        return "[" + ",".join(str(number) for number in self.numbers) + "]"

    def definite(self, *, leaf: bool) -> bool:
        return len(self.numbers) == 1

    def suits(self, value: Any, *, leaf: bool) -> bool:
        return isinstance(value, list)

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        if not _is_array(value, place):
            return []
        work.spend(_PICK * len(self.numbers))
        size = len(value)
        return [value[number] for number in self.numbers if -size <= number < size]


@dataclass(frozen=True)
class Range:
    """`[1:3]`, `[:2]`, `[-1:]`."""

    start: int | None
    end: int | None

    @property
    def text(self) -> str:
        return f"[{'' if self.start is None else self.start}:{'' if self.end is None else self.end}]"

    def definite(self, *, leaf: bool) -> bool:
        return False

    def suits(self, value: Any, *, leaf: bool) -> bool:
        return isinstance(value, list)

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        return list(value[self.start : self.end]) if _is_array(value, place) else []


@dataclass(frozen=True)
class Every:
    """`*`: the members of an object or array; of anything else nothing."""

    text = "[*]"

    def definite(self, *, leaf: bool) -> bool:
        return False

    def suits(self, value: Any, *, leaf: bool) -> bool:
        return True

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        if isinstance(value, dict):
            return list(value.values())
        return value if isinstance(value, list) else []


@dataclass(frozen=True)
class Matching:
    """`[?(...)]`: the elements of an array that fulfil all conditions, or the object that does."""

    conditions: tuple[JSONPath, ...]
    comparisons: int
    text = "[?]"

    def definite(self, *, leaf: bool) -> bool:
        return False

    def suits(self, value: Any, *, leaf: bool) -> bool:
        return isinstance(value, dict)

    def pick(self, value: Any, place: Place, work: Work) -> list[Any]:
        if not is_container(value):
            if place.path is None:
                return []
            shown = f"Filter: [?] can not be applied to primitives. Current context is: {java_text(value)}"
            raise failed("invalid_path_exception", shown)
        found = []
        for candidate in [value] if isinstance(value, dict) else value:
            work.spend(_COMPARISON * self.comparisons)
            if all(condition.find(candidate) for condition in self.conditions):
                found.append(candidate)
        return found


def matching(path: str, text: str) -> Matching:
    """The filter whose text is between brackets. Raises InvalidRequest for one that could take long.

    Regular expressions of a request could run for ever, and paths on both sides compare whole answers.
    """
    if "=~" in text or "`" in text:
        raise InvalidRequest(f"{path} is not a JSON path that this bridge runs")
    try:
        tree = parse(f"$[{text}]")
    except (JSONPathError, ValueError, TypeError, AttributeError) as error:
        raise no_path(path) from error
    if not isinstance(tree, Child) or not isinstance(tree.right, Filter):
        raise no_path(path)
    left, comparisons = list(tree.right.expressions), 0
    while left:
        part = left.pop()
        if isinstance(part, (And, Or)):
            left += part.operands
        elif isinstance(part, Expression) and not isinstance(part.value, JSONPath) and _is_plain(part.target):
            comparisons += 1
        else:
            raise InvalidRequest(f"{path} is not a JSON path that this bridge runs")
    return Matching(tuple(tree.right.expressions), comparisons)


def _is_plain(target: JSONPath) -> bool:
    """Whether a filter's operand is `@` with names and indexes."""
    while isinstance(target, Child):
        if not isinstance(target.right, (Fields, Index)) or "*" in getattr(target.right, "fields", ()):
            return False
        target = target.left
    return isinstance(target, This)


def _is_array(value: Any, place: Place) -> bool:
    if isinstance(value, list) or place.path is None:
        return isinstance(value, list)
    if value is None:
        raise failed(_NOT_FOUND, f"The path {place.path} is null")
    shown = f"Filter: {place.rest} can only be applied to arrays. Current context is: {java_text(value)}"
    raise failed(_NOT_FOUND, shown)
