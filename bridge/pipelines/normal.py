"""The server's own normal form of a search body, by a search that touches no shard. Pure.

A search over a wildcard that matches nothing, with an inline pipeline and `verbose_pipeline`, shows the source before
and after each processor (contract/processors.md section 0, finding 2). A text that begins with a JSON value comes out
of that as an object unless it sits under an array: the query goes in inside a list and is taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.pipelines.key_order import in_order
from bridge.pipelines.query_tree import NEURAL, QueryTree
from bridge.pipelines.split import Processor, elements_of
from bridge.pipelines.template_query import KIND as TEMPLATE
from bridge.processors.search import Json

OUR_EXT = ("ml_inference", "rerank", "generative_qa_parameters")
"""Sections of `ext` that no plain cluster knows."""
_HELD_BACK = ("pit", "slice", "ext")
"""Not allowed in, or not known to, the search that normalises; their normal form is the form they have."""
ASIDE = ("search_pipeline", "verbose_pipeline")
"""What a source says of the pipeline itself: set by the bridge in what it sends."""
_PROBE: Processor = ("oversample", {"sample_factor": 1})
_WRAPPED = "bridge:wrapped"
_CLAUSE = "bridge:clause:"
_SLICE = {"field": "_id"}
_SAME = {"aggs": "aggregations"}


@dataclass(frozen=True)
class Normal:
    """A source before and after the processors that it was sent with; `entries` are their `processor_results`."""

    before: Json
    after: Json
    entries: tuple[Mapping[str, Any], ...] = ()


class Question:
    """One search body on its way to its normal form: `body` is what to send, `read` understands the answer."""

    def __init__(self, source: Mapping[str, Any], natives: Sequence[Processor] = ()) -> None:
        self._source = source
        self._natives = natives
        self._clauses: list[Any] = []

    def body(self, *, plain: bool = False) -> Json:
        """The body to send; `plain` asks for the errors in the source as the cluster words them for the client."""
        hidden = dict(self._source)
        for kind in (NEURAL, TEMPLATE):
            hidden = QueryTree(partial(self._hide, kind), kind).body(hidden)
        found = {key: value for key, value in hidden.items() if key not in (*_HELD_BACK, *ASIDE)}
        ext = sendable_ext(self._source.get("ext"))
        if ext is not None:
            found["ext"] = ext
        query = found.get("query")
        if not plain and isinstance(query, Mapping) and "hybrid" not in query:
            found["query"] = {"bool": {"should": [query], "_name": _WRAPPED}}
        found["search_pipeline"] = {"request_processors": elements_of(self._natives or (_PROBE,))}
        if not plain:
            found["verbose_pipeline"] = True
        return found

    def read(self, answer: Any) -> Normal | None:
        """What the cluster showed; None when it showed nothing."""
        entries = answer.get("processor_results") if isinstance(answer, Mapping) else None
        if not isinstance(entries, list) or not entries or not isinstance(entries[0].get("input_data"), Mapping):
            return None
        before = self._shown(entries[0]["input_data"])
        if not self._natives:
            return Normal(before, before)
        outputs = [entry.get("output_data") for entry in entries]
        last = next((data for data in reversed(outputs) if isinstance(data, Mapping)), None)
        return Normal(before, before if last is None else self._shown(last), tuple(self._entries(entries)))

    def _entries(self, entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for entry in entries:
            data = {key: entry.get(key) for key in ("input_data", "output_data")}
            shown = {key: self._shown(value) if isinstance(value, Mapping) else value for key, value in data.items()}
            found.append({**entry, **shown})
        return found

    def _hide(self, kind: str, value: Any, _: QueryTree) -> Any:
        """No plain cluster knows the one kind; the other would be filled from a context that is not there."""
        self._clauses.append({kind: _neural(value) if kind == NEURAL else value})
        return {"match_none": {"_name": f"{_CLAUSE}{len(self._clauses) - 1}"}}

    def _shown(self, source: Mapping[str, Any]) -> Json:
        shown = {key: self._visible(value) for key, value in source.items() if key not in ASIDE}
        shown.update({key: self._source[key] for key in _HELD_BACK if key in self._source})
        if isinstance(shown.get("slice"), Mapping):
            shown["slice"] = {**_SLICE, **shown["slice"]}
        return in_order(_texts_again(shown, self._source), self._source)

    def _visible(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._visible(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        wrapped = node.get("bool")
        if isinstance(wrapped, Mapping) and wrapped.get("_name") == _WRAPPED and wrapped.get("should"):
            return self._visible(wrapped["should"][0])
        hidden = node.get("match_none")
        name = hidden.get("_name") if isinstance(hidden, Mapping) else None
        if isinstance(name, str) and name.startswith(_CLAUSE):
            return self._clauses[int(name.removeprefix(_CLAUSE))]
        return {key: self._visible(value) for key, value in node.items()}


def _texts_again(shown: Any, written: Any) -> Any:
    """With the texts outside of lists that the cluster shows as empty objects, since they begin with a JSON value."""
    if shown == {} and isinstance(written, str):
        return written
    if isinstance(shown, Mapping) and isinstance(written, Mapping):
        named = {_SAME.get(key, key): value for key, value in written.items()}
        return {key: _texts_again(value, named.get(key)) for key, value in shown.items()}
    if isinstance(shown, list) and isinstance(written, list) and len(shown) == len(written):
        return [_texts_again(value, other) for value, other in zip(shown, written, strict=True)]
    return shown


def _neural(value: Any) -> Any:
    """A `neural` clause as neural-search prints it."""
    if not isinstance(value, Mapping):
        return value
    return {
        field: {**config, **({} if "boost" in config else {"boost": 1.0})} if isinstance(config, Mapping) else config
        for field, config in value.items()
    }


def sendable_ext(ext: Any) -> Any:
    """What of `ext` the cluster may see; None for nothing."""
    if not isinstance(ext, Mapping):
        return ext
    found = {key: value for key, value in ext.items() if key not in OUR_EXT}
    return found or None


def composed(body: Mapping[str, Any], before: Json, after: Json, from_url: Sequence[str] = ()) -> Json:
    """`body` with what has changed between two normal forms of it; whatever nobody touched stays as the client wrote
    it. `from_url` names the keys that the request's parameters gave. A point in time is never lost."""
    found: Json = {}
    for key, value in body.items():
        name = _SAME.get(key, key)
        if key in ("pit", "slice") or (name not in before and name not in after):
            found[key] = value
        elif name in after:
            same = name in before and before[name] == after[name] and name not in from_url
            found.update({key: value} if same else {name: after[name]})
    given = {_SAME.get(key, key) for key in body}
    for name, value in after.items():
        if name not in given and (name in from_url or name not in before or before[name] != value):
            found[name] = value
    return found
