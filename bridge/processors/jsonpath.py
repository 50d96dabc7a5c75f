"""JSONPath as Jayway's library 2.9.0 reads it, which ML Commons uses: its grammar and results on jsonpath-ng's tree.

Rules: contract/processors.md section 5; tests/unit/processors/test_jsonpath.py holds the outcomes recorded from the
real server. A path is definite when it can have one result only (`a.b[0]`); others give a list. The leading `$` is
optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from jsonpath_ng.jsonpath import Child, DatumInContext, Descendants, Index, JSONPath, Root, Wildcard

from bridge.processors.jsonpath_filter import invalid
from bridge.processors.jsonpath_grammar import (
    COUNTING,
    Between,
    Deep,
    Every,
    Function,
    Names,
    Places,
    Step,
    Where,
    steps_of,
)
from bridge.processors.jsonpath_nodes import Call, Filtered, FilteredBelow, Member, Members, PathNotFound, Range

__all__ = ["Path", "PathNotFound", "path_of"]

DEEP_SCANS = 2
"""Each `..` may multiply the work by the depth of a document, and a search may bring a path along."""
REMEMBERED = 2048
"""Paths kept compiled: those of stored pipelines, and of such as searches bring along."""


class Path:
    """A compiled path. Documents are JSON values; none is changed but by `put`."""

    def __init__(self, text: str, steps: Sequence[Step]) -> None:
        self.text = text
        self.definite = _definite(steps)
        self.ordered = not all(isinstance(step, Names | Places) for step in steps)
        """Whether what is found may depend on the order of members."""
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
        steps = steps_of(text, path_of)
        if sum(isinstance(step, Deep) for step in steps) > DEEP_SCANS:
            raise invalid(f"A path may look through everything below {DEEP_SCANS} times at most")
        return Path(text, steps)
    except (RecursionError, ValueError):
        raise invalid("Path is nested too deeply, or holds a number that is too long") from None


def _definite(steps: Sequence[Step]) -> bool:
    return _inverted(steps) or all(_is_definite(step, at == len(steps) - 1) for at, step in enumerate(steps))


def _is_definite(step: Step, last: bool) -> bool:
    if isinstance(step, Names):
        return last or len(step.names) == 1
    return isinstance(step, Function) or (isinstance(step, Places) and len(step.places) == 1)


def _may_start(step: Step | None, value: Any) -> bool:
    """Whether the first indefinite step of a path finds something that it can be applied to."""
    if isinstance(step, Places | Between):
        return isinstance(value, list)
    if isinstance(step, Where):
        return isinstance(value, list | dict)
    return isinstance(value, dict) if isinstance(step, Names) else True


def _inverted(steps: Sequence[Step]) -> bool:
    """Whether Jayway turns the path around: `$..n.sum()` is `$.sum($..n)`."""
    return len(steps) > 1 and isinstance(steps[-1], Function) and isinstance(steps[0], Deep)


def _tree(steps: Sequence[Step], *, defaults: bool) -> JSONPath:
    last_step = steps[-1] if steps else None
    if isinstance(last_step, Function) and _inverted(steps):
        below = _tree([*steps[:-1], *([Every()] if last_step.name in COUNTING else [])], defaults=False)
        return Call(last_step.name, [lambda root: [datum.value for datum in below.find(root)]])
    found: JSONPath = Root()
    deep = False
    for at, step in enumerate(steps):
        if isinstance(step, Deep):
            deep = True
            continue
        last = at == len(steps) - 1
        node = _node(step, last=last, default=defaults and last, deep=deep)
        found = Descendants(found, node) if deep else Child(found, node)
        deep = False
    return found


def _node(step: Step, *, last: bool, default: bool, deep: bool) -> JSONPath:
    match step:
        case Names((name,)):
            node: JSONPath = Member(name, default=default)
        case Names(names):
            node = Members(names, last=last, default=default)
        case Places(places):
            node = Index(*places)
        case Between(start, stop):
            node = Range(start, stop)
        case Where(predicate):
            node = FilteredBelow(predicate) if deep else Filtered(predicate)
        case Function(name, arguments):
            node = Call(name, [partial(argument, strict=not default) for argument in arguments])
        case _:
            node = Wildcard()
    return node
