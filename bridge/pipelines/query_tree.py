"""Walks a search body by the grammar of the query DSL and lets clauses of one kind be replaced. Pure.

Only places where the cluster would parse a query are visited: a field, an aggregation or a document that happens to be
called "neural" is never touched. A part without a replaced clause is the very object that came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Replace: TypeAlias = Callable[[Any, "QueryTree"], Any]
Visit: TypeAlias = Callable[[Any], Any]

NEURAL = "neural"

# Keys below a clause that hold one query or a list of queries.
CLAUSES: dict[str, tuple[str, ...]] = {
    "bool": ("must", "filter", "should", "must_not", "mustNot"),
    "boosting": ("positive", "negative"),
    "constant_score": ("filter",),
    "dis_max": ("queries",),
    "function_score": ("query",),
    "has_child": ("query",),
    "has_parent": ("query",),
    "hybrid": ("queries", "filter"),
    "nested": ("query",),
    "script_score": ("query",),
}
_AGGREGATION_FILTERS = {"significant_terms": "background_filter", "significant_text": "background_filter"}
_AGGREGATIONS = ("aggs", "aggregations")


class QueryTree:
    """`replace` gets the value of each clause called `kind` and this walker, and gives what stands instead of it."""

    def __init__(self, replace: Replace, kind: str = NEURAL) -> None:
        self._replace = replace
        self._kind = kind

    def body(self, body: Any) -> Any:
        """A search body (also of _count, _explain and the like)."""
        visits: dict[str, Visit] = {
            "query": self.query,
            "post_filter": self.query,
            "rescore": self._rescore,
            "sort": self._sort,
            "highlight": self._highlight,
            "aggs": self._aggregations,
            "aggregations": self._aggregations,
        }
        return _changed(body, visits)

    def query(self, node: Any) -> Any:
        """One query, or a list of them where the DSL takes one."""
        if isinstance(node, list):
            return _each(node, self.query)
        if not isinstance(node, Mapping):
            return node
        if self._kind in node and len(node) == 1:
            return self._replace(node[self._kind], self)
        return _changed(node, {name: self._below(name) for name in node})

    def _below(self, name: Any) -> Visit:
        if name == "function_score":
            return lambda v: _changed(v, {"query": self.query, "functions": self._functions})
        if name == "knn":
            return lambda v: _values(v, lambda field: _changed(field, {"filter": self.query}))
        keys = CLAUSES.get(name, ())
        return lambda v: _changed(v, dict.fromkeys(keys, self.query))

    def _functions(self, functions: Any) -> Any:
        return _each(functions, lambda function: _changed(function, {"filter": self.query}))

    def _rescore(self, rescore: Any) -> Any:
        if isinstance(rescore, list):
            return _each(rescore, self._rescore)
        return _changed(rescore, {"query": lambda v: _changed(v, {"rescore_query": self.query})})

    def _sort(self, sort: Any) -> Any:
        if isinstance(sort, list):
            return _each(sort, self._sort)
        return _values(sort, lambda by: _changed(by, {"nested": self._nested_sort, "nested_filter": self.query}))

    def _nested_sort(self, nested: Any) -> Any:
        return _changed(nested, {"filter": self.query, "nested": self._nested_sort})

    def _highlight(self, highlight: Any) -> Any:
        own: dict[str, Visit] = {"highlight_query": self.query}

        def fields(value: Any) -> Any:
            if isinstance(value, list):
                return _each(value, fields)
            return _values(value, lambda field: _changed(field, own))

        return _changed(highlight, {**own, "fields": fields})

    def _aggregations(self, named: Any) -> Any:
        return _values(named, self._aggregation)

    def _aggregation(self, aggregation: Any) -> Any:
        visits: dict[str, Visit] = {
            "filter": self.query,
            "filters": lambda v: _changed(v, {"filters": self._filters}),
            "adjacency_matrix": lambda v: _changed(v, {"filters": self._filters}),
        }
        for name, key in _AGGREGATION_FILTERS.items():
            visits[name] = lambda v, key=key: _changed(v, {key: self.query})  # type: ignore[misc]
        for name in _AGGREGATIONS:
            visits[name] = self._aggregations
        return _changed(aggregation, visits)

    def _filters(self, filters: Any) -> Any:
        return _each(filters, self.query) if isinstance(filters, list) else _values(filters, self.query)


def _changed(node: Any, visits: Mapping[str, Visit]) -> Any:
    """`node` with the values under the visited keys replaced, in place in the order; itself when nothing changed."""
    if not isinstance(node, Mapping):
        return node
    found = {key: visits[key](value) if key in visits else value for key, value in node.items()}
    return node if all(found[key] is value for key, value in node.items()) else found


def _values(node: Any, visit: Visit) -> Any:
    return _changed(node, dict.fromkeys(node, visit)) if isinstance(node, Mapping) else node


def _each(items: Any, visit: Visit) -> Any:
    if not isinstance(items, list):
        return items
    found = [visit(item) for item in items]
    return items if all(new is old for new, old in zip(found, items, strict=True)) else found
