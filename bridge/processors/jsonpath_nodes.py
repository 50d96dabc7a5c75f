"""What Jayway's dialect has beyond jsonpath-ng's tree: members with defaults, slices, filters and functions as nodes.

The library brings `Root`, `Child`, `Index`, `Wildcard` and `Descendants` and the walking; its own `Fields` and `Slice`
differ from Jayway's in what an absent member and a negative bound mean, and its parser in the whole grammar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from jsonpath_ng.jsonpath import DatumInContext, Index, JSONPath, Root

from bridge.errors import InvalidRequest

Predicate: TypeAlias = Callable[[Any, Any], bool]
"""Takes the value under test and the root of the document."""


class PathNotFound(LookupError):
    """Nothing stands at a path."""


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


class Member(JSONPath):
    """One member of an object; with `default` an absent one is null (Jayway's DEFAULT_PATH_LEAF_TO_NULL)."""

    def __init__(self, name: str, *, default: bool = False) -> None:
        self.name = name
        self.default = default

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        if not isinstance(datum.value, dict) or (self.name not in datum.value and not self.default):
            return []
        return [DatumInContext(datum.value.get(self.name), path=self, context=datum)]


class Members(JSONPath):
    """`['a','b']`: at the end of a path one object of these members, before its end each of them."""

    def __init__(self, names: Sequence[str], *, last: bool, default: bool = False) -> None:
        self.names = tuple(names)
        self.last = last
        self.default = default

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        value = datum.value
        if not isinstance(value, dict):
            return []
        if not self.last:
            return [found for name in self.names for found in Member(name).find(datum)]
        merged = {name: value.get(name) for name in self.names if name in value or self.default}
        return [DatumInContext(merged, path=self, context=datum)]


class Range(JSONPath):
    """`[from:to]`. Negative bounds as Jayway counts them: from the end, except `from` where `to` is given as well."""

    def __init__(self, start: int | None, stop: int | None) -> None:
        self.start = start
        self.stop = stop

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        return Index(*self._places(len(datum.value))).find(datum) if isinstance(datum.value, list) else []

    def _places(self, length: int) -> range:
        if self.stop is None:
            start = self.start or 0
            return range(max(0, length + start if start < 0 else start), length)
        if self.start is None:
            return range(min(length, length + self.stop if self.stop < 0 else self.stop))
        return range(self.start, min(length, self.stop))


class Filtered(JSONPath):
    """`[?(...)]`: the elements of a list, or the object itself, that the predicate accepts."""

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        root = Root().find(datum)[0].value
        if isinstance(datum.value, dict):
            return [datum] if self.predicate(datum.value, root) else []
        if not isinstance(datum.value, list):
            return []
        chosen = (at for at, item in enumerate(datum.value) if self.predicate(item, root))
        return [found for at in chosen for found in Index(at).find(datum)]


class FilteredBelow(JSONPath):
    """`..[?(...)]`, at each place of the walk: an object that the predicate accepts, or the elements of a list that it
    accepts as a whole; the walk comes by the other elements anyway."""

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        root = Root().find(datum)[0].value
        fits = isinstance(datum.value, list | dict) and self.predicate(datum.value, root)
        return Filtered(self.predicate).find(datum) if fits else []


class Call(JSONPath):
    """A function at the end of a path. Arguments are functions of the root."""

    def __init__(self, name: str, arguments: Sequence[Callable[[Any], Any]]) -> None:
        self.name = name
        self.arguments = tuple(arguments)

    def find(self, data: Any) -> list[DatumInContext]:
        datum = DatumInContext.wrap(data)
        root = Root().find(datum)[0].value
        given = [argument(root) for argument in self.arguments]
        return [DatumInContext(FUNCTIONS[self.name](datum.value, given), path=self, context=datum)]


def _flat(given: Sequence[Any]) -> list[Any]:
    return [value for one in given for value in (one if isinstance(one, list) else [one])]


def _length(model: Any, given: list[Any]) -> Any:
    if given:
        return len(given[0]) if isinstance(given[0], list) else None
    return len(model) if isinstance(model, list | dict) else None


def _concat(model: Any, given: list[Any]) -> str:
    own = [value for value in model if isinstance(value, str)] if isinstance(model, list) else []
    more = (value if isinstance(value, str) else str(value) for value in _flat(given) if value is not None)
    return "".join([*own, *more])


def _numbers(model: Any, given: list[Any]) -> list[float]:
    values = [*(model if isinstance(model, list) else []), *_flat(given)]
    numbers = [float(value) for value in values if is_number(value)]
    if not numbers:
        raise InvalidRequest(
            "Aggregation function attempted to calculate value using empty array", kind="json_path_exception"
        )
    return numbers


def _deviation(model: Any, given: list[Any]) -> float:
    numbers = _numbers(model, given)
    count = len(numbers)
    # In this order, so that the last digit is Jayway's.
    return math.sqrt(sum(number * number for number in numbers) / count - sum(numbers) ** 2 / count / count)


def _element(model: Any, at: int) -> Any:
    if not isinstance(model, list):
        raise InvalidRequest(
            "Aggregation function attempted to calculate value using empty array", kind="json_path_exception"
        )
    if not -len(model) <= at < len(model):
        raise InvalidRequest(f"Target index:{at} larger than object count:{len(model)}", kind="json_path_exception")
    return model[at]


def _place(given: list[Any]) -> int:
    if not given or not is_number(given[0]):
        raise InvalidRequest("index() needs a number", kind="json_path_exception")
    return int(given[0])


FUNCTIONS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "length": _length,
    "size": _length,
    "concat": _concat,
    "sum": lambda model, given: sum(_numbers(model, given)),
    "avg": lambda model, given: sum(numbers := _numbers(model, given)) / len(numbers),
    "min": lambda model, given: min(_numbers(model, given)),
    "max": lambda model, given: max(_numbers(model, given)),
    "stddev": _deviation,
    "keys": lambda model, given: list(model) if isinstance(model, dict) else None,
    "first": lambda model, given: _element(model, 0),
    "last": lambda model, given: _element(model, -1),
    "index": lambda model, given: _element(model, _place(given)),
    "append": lambda model, given: [*model, *_flat(given)] if isinstance(model, list) else model,
}
"""What a path may end in; each takes the value before it and its arguments."""
