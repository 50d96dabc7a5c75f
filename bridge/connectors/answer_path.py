"""Paths into a service's answer (`response_filter`): JSONPath as ML Commons' library reads it, at a bounded cost.

Grammar, order of results and words of failures are those of the reference (ML Commons 3.6.0, Jayway's JsonPath). A
request may bring a path and a service any answer, and both are read on the event loop: so a path has at most two deep
scans (`..`), its filters compare with literals only, and an evaluation looks at a bounded number of values.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.connectors.answer_steps import (
    Every,
    Indexes,
    Names,
    Place,
    Range,
    Selector,
    Work,
    matching,
)
from bridge.connectors.answer_words import CONTAINERS, failed, is_container, no_path
from bridge.errors import InvalidRequest

_LONGEST = 1000
_DEEP_SCANS = 2
_NAME = re.compile(r"\*(?=[.\[]|\Z)|[^\s.\[\](]+")
_QUOTED = r"\s*(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\s*"
_NAMES = re.compile(rf"{_QUOTED}(?:,{_QUOTED})*")
_ONE_NAME = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_INDEXES = re.compile(r"-?[0-9]+(?:\s*,\s*-?[0-9]+)*")
_RANGE = re.compile(r"(-?[0-9]*)\s*:\s*(-?[0-9]*)")


@dataclass(frozen=True)
class _Step:
    """One selector; `deep` ones (`..`) are applied to every object and array below, too."""

    selector: Selector
    deep: bool

    @property
    def text(self) -> str:
        return ".." * self.deep + self.selector.text


def found_at(answer: Any, path: str, work: Work | None = None) -> Any:
    """What stands at a path: one value for a definite path, else the list of what was found.

    Raises EngineError as ML Commons words it where a definite part of the path leads nowhere, InvalidRequest for a
    path that the bridge does not run, an answer `null`, and an evaluation that would take too long.
    """
    steps = _steps(path)
    if answer is None:
        raise InvalidRequest("json can not be null")
    work = work or Work()
    values: list[Any] = [answer]
    where: str | None = "$"
    for number, step in enumerate(steps):
        rest = steps[number:]
        place = Place(where, "".join(one.text for one in rest), leaf=len(rest) == 1)
        values = list(_picked(step, values, place, work))
        definite = not step.deep and step.selector.definite(leaf=place.leaf)
        where = where + step.text if where is not None and definite else None
    if where is not None:
        if not values:
            raise failed("path_not_found_exception", f"No results for path: {where}")
        return values[0]
    if any(step.deep or isinstance(step.selector, Indexes) for step in steps):
        # The same value may have been found many times, and is written each time.
        work.weigh(values)
        for _ in _inner(values, work, weigh=True):
            pass
    return values


def _picked(step: _Step, values: list[Any], place: Place, work: Work) -> Iterator[Any]:
    if step.deep:
        place = Place(None, place.rest, leaf=place.leaf)
        values = [inner for value in values for inner in _inner([value], work)]
    for value in values:
        if not step.deep or step.selector.suits(value, leaf=place.leaf):
            found = step.selector.pick(value, place, work)
            work.pick(found)
            yield from found


def _inner(values: list[Any], work: Work, *, weigh: bool = False) -> Iterator[Any]:
    """All objects and arrays in `values`, each before what is in it; `weigh` counts long texts, too."""
    left = [value for value in reversed(values) if is_container(value)]
    while left:
        node = left.pop()
        children = list(node.values()) if type(node) is dict else node
        work.visit(children)
        kinds = set(map(type, children))
        if weigh and str in kinds:
            work.weigh(children)
        yield node
        # Most arrays are long and hold numbers only.
        if not kinds.isdisjoint(CONTAINERS):
            left += [child for child in reversed(children) if type(child) in CONTAINERS]


@functools.lru_cache(maxsize=256)
def _steps(path: str) -> tuple[_Step, ...]:
    text = path.strip()
    if not text:
        raise InvalidRequest("path can not be null or empty")
    if len(text) > _LONGEST:
        raise InvalidRequest(f"A JSON path may have {_LONGEST} characters on this bridge")
    if text[0] in "$@":
        text = text[1:]
    elif text[0] != "[":
        text = "." + text
    steps: list[_Step] = []
    position = 0
    while position < len(text):
        step, position = _step(path, text, position)
        steps.append(step)
    if sum(step.deep for step in steps) > _DEEP_SCANS:
        raise InvalidRequest(f"{path} has more than {_DEEP_SCANS} deep scans (..), which this bridge does not run")
    return tuple(steps)


def _step(path: str, text: str, position: int) -> tuple[_Step, int]:
    """The step that begins at a position, and where it ends."""
    deep = text.startswith("..", position)
    dotted = text.startswith(".", position)
    position += deep + dotted
    if text.startswith("[", position):
        end = _closing(path, text, position)
        return _Step(_bracket(path, text[position + 1 : end].strip()), deep), end + 1
    name = _NAME.match(text, position) if dotted else None
    if name is None:
        raise no_path(path)
    return _Step(Every() if name[0] == "*" else Names((name[0],)), deep), name.end()


def _closing(path: str, text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes; brackets within quotes are text."""
    depth, quote, escaped = 0, "", False
    for position in range(start, len(text)):
        character = text[position]
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
            if not depth:
                return position
    raise no_path(path)


def _bracket(path: str, inner: str) -> Selector:
    if inner == "*":
        return Every()
    if inner.startswith("?"):
        return matching(path, inner)
    if _NAMES.fullmatch(inner):
        names = (single or double for single, double in _ONE_NAME.findall(inner))
        return Names(tuple(dict.fromkeys(re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name in names)))
    if _INDEXES.fullmatch(inner):
        return Indexes(tuple(int(number) for number in inner.split(",")))
    bounds = _RANGE.fullmatch(inner)
    if bounds is None or "-" in bounds.groups():
        raise no_path(path)
    return Range(*(int(bound) if bound else None for bound in bounds.groups()))
