"""Which documents a query finds and how they are sorted: the part of the query language that the bridge itself uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bridge.errors import InvalidRequest


def matches(query: Mapping[str, Any], id: str, document: Mapping[str, Any]) -> bool:
    """True when `query` finds `document`, as a keyword, number or date field would be found.

    Knows match_all, ids, term, terms, range, exists and bool. Raises InvalidRequest for anything else.
    """
    if len(query) != 1:
        raise InvalidRequest("a query has exactly one name")
    ((name, options),) = query.items()
    if name == "match_all":
        return True
    if name == "ids":
        return id in options["values"]
    if name == "exists":
        return any(True for _ in _values(document, options["field"]))
    if name == "bool":
        return _bool(options, id, document)
    test = _TESTS.get(name)
    if test is None:
        raise InvalidRequest(f"the in-memory store does not know the query [{name}]")
    ((field, wanted),) = ((key, value) for key, value in options.items() if key != "boost")
    return any(test(value, wanted) for value in _values(document, field))


def _bool(options: Mapping[str, Any], id: str, document: Mapping[str, Any]) -> bool:
    def found(clause: str) -> Iterator[bool]:
        queries = options.get(clause, ())
        for query in [queries] if isinstance(queries, Mapping) else queries:
            yield matches(query, id, document)

    if not all(found("must")) or not all(found("filter")) or any(found("must_not")):
        return False
    should = list(found("should"))
    required = options.get("minimum_should_match", 0 if "must" in options or "filter" in options else 1)
    return not should or sum(should) >= int(required)


def _term(value: Any, wanted: Any) -> bool:
    plain = wanted["value"] if isinstance(wanted, Mapping) else wanted
    return bool(value == plain and isinstance(value, bool) == isinstance(plain, bool))


def _terms(value: Any, wanted: Any) -> bool:
    return any(_term(value, one) for one in wanted)


_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def _range(value: Any, wanted: Any) -> bool:
    return all(_BOUNDS[bound](value, limit) for bound, limit in wanted.items() if limit is not None)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {"term": _term, "terms": _terms, "range": _range}


def _values(document: Any, field: str) -> Iterator[Any]:
    """Every value at a dotted path; lists stand for each of their items, as in an index."""
    if isinstance(document, (list, tuple)):
        for item in document:
            yield from _values(item, field)
        return
    if not isinstance(document, Mapping):
        return
    head, _, rest = field.partition(".")
    if head not in document:
        head, rest = head.removesuffix(".keyword"), rest if rest != "keyword" else ""
    value = document.get(head)
    if rest and rest != "keyword":
        yield from _values(value, rest)
        return
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if item is not None:
            yield item


def sort_key(sort: Sequence[Mapping[str, Any]]) -> Callable[[tuple[str, Mapping[str, Any]]], tuple[Any, ...]]:
    """A key for `sorted` over (id, document); documents without the field come last, whatever the direction."""

    def key(pair: tuple[str, Mapping[str, Any]]) -> tuple[Any, ...]:
        return tuple(_place(pair[1], rule) for rule in sort)

    return key


def _place(document: Mapping[str, Any], rule: Mapping[str, Any]) -> tuple[int, Any]:
    ((field, order),) = rule.items()
    direction = order.get("order", "asc") if isinstance(order, Mapping) else order
    values = list(_values(document, field))
    if not values:
        return 1, 0
    if direction == "desc":
        return 0, _Reversed(max(values))
    return 0, min(values)


class _Reversed:
    """A value that sorts the other way round."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]
