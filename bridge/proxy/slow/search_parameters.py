"""What a search's URL says of its source. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from yarl import URL

from bridge.processors.search import Json
from bridge.wire import read_flag

_SOURCE_KEYS = {
    "from": "from",
    "size": "size",
    "explain": "explain",
    "version": "version",
    "seq_no_primary_term": "seq_no_primary_term",
    "timeout": "timeout",
    "terminate_after": "terminate_after",
    "stored_fields": "stored_fields",
    "docvalue_fields": "docvalue_fields",
    "_source": "_source",
    "_source_includes": "_source",
    "_source_excludes": "_source",
    "track_scores": "track_scores",
    "track_total_hits": "track_total_hits",
    "sort": "sort",
    "stats": "stats",
    "suggest_field": "suggest",
    "suggest_text": "suggest",
    "suggest_size": "suggest",
    "suggest_mode": "suggest",
    "rest_total_hits_as_int": "track_total_hits",
    "include_named_queries_score": "include_named_queries_score",
}
"""Parameters of a search that become part of its source, and the key they become."""
_QUERY = {
    "df": "default_field",
    "analyzer": "analyzer",
    "analyze_wildcard": "analyze_wildcard",
    "lenient": "lenient",
    "default_operator": "default_operator",
}
_OURS = ("search_pipeline", "verbose_pipeline")
_SHAPING = ("filter_path", "pretty", "format")
_BODY = ("source", "source_content_type")
# Says, too, how the cluster writes its hits.
_SHAPING_HITS = ("include_named_queries_score",)
_RESOLVING = ("expand_wildcards", "ignore_unavailable", "allow_no_indices")
_TRUE = ("", "true")
_JUDGED_HERE = ("verbose_pipeline", "pretty")
_BROKEN_ESCAPE = re.compile("%(?![0-9a-fA-F]{2})")
_UNITS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Parameters:
    """The query of a raw target."""

    target: str
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, target: str) -> Parameters:
        """Read as the cluster reads it: `;` separates too."""
        path, mark, query = target.partition("?")
        query = query.replace(";", "&")
        return cls(path + mark + query, dict(parse_qsl(query, keep_blank_values=True)))

    @property
    def legible(self) -> bool:
        """Whether all escapes are whole; the cluster refuses others."""
        return _BROKEN_ESCAPE.search(self.target.partition("?")[2]) is None

    @property
    def names_a_body(self) -> bool:
        """Whether the URL says what stands for a body."""
        return any(name in self.values for name in _BODY)

    @property
    def pipeline(self) -> str | None:
        """The pipeline that the URL names."""
        return self.values.get("search_pipeline")

    @property
    def verbose(self) -> bool:
        """Whether `verbose_pipeline` is asked for."""
        return self.values.get("verbose_pipeline", "false") in _TRUE

    @property
    def source_keys(self) -> list[str]:
        """The keys of the source that parameters give; `q` is not among them, see `with_query`."""
        return sorted({_SOURCE_KEYS[name] for name in self.values if name in _SOURCE_KEYS})

    def source_query(self) -> str:
        """The parameters that belong to the source, as a query string."""
        return urlencode({name: value for name, value in self.values.items() if name in _SOURCE_KEYS})

    def resolving(self) -> dict[str, str]:
        """The parameters that say which indices a name stands for."""
        return {name: self.values[name] for name in _RESOLVING if name in self.values}

    def with_query(self, body: Mapping[str, Any]) -> Json:
        """`body` with the query that `q` and its companions ask for."""
        if not self.values.get("q"):
            return dict(body)
        query = {key: self.values[name] for name, key in _QUERY.items() if name in self.values}
        return {**body, "query": {"query_string": {"query": self.values["q"], "analyze_wildcard": "false", **query}}}

    @property
    def plain_total(self) -> bool:
        """Whether `hits.total` is to be a number."""
        return self.values.get("rest_total_hits_as_int", "false") in _TRUE

    def bodiless(self) -> str:
        """The target without a body in it."""
        return self._without(_BODY)

    def upstream(self, *, folded: bool, shaped: bool, without: Sequence[str] = ()) -> str:
        """The target of the search that goes to the cluster: without what names a pipeline or a body; without what the
        body now says (`folded`); without what is done to the answer here (`shaped`)."""
        dropped = [*_OURS, *_BODY, *without]
        if self.values.get("q"):
            dropped += ["q", *_QUERY]
        if folded:
            dropped += [name for name in _SOURCE_KEYS if name not in _SHAPING_HITS]
        if shaped:
            dropped += _SHAPING
        return self._without(dropped)

    def _without(self, dropped: Sequence[str]) -> str:
        present = [name for name in dropped if name in self.values]
        return str(URL(self.target, encoded=True).without_query_params(*present)) if present else self.target

    def seconds(self) -> float | None:
        """The time after which the search is to be cancelled; None where it names none. `timeout` is not one: it bounds
        what the shards do (live, contract/processors.md section 1)."""
        return seconds(self.values.get("cancel_after_time_interval"))

    def check(self) -> None:
        """Raises InvalidRequest, in the cluster's words, for a parameter that the cluster does not get to see."""
        for name in _JUDGED_HERE:
            read_flag(self.values.get(name, "true"))


def truth(value: Any) -> bool | None:
    """A flag as the cluster reads it: a boolean or its text, where an empty one says no in a body; else None."""
    if isinstance(value, str):
        return {"true": True, "false": False, "": False}.get(value)
    return value if isinstance(value, bool) else None


def seconds(value: Any) -> float | None:
    """A time value (`5s`, `100ms`) in seconds; None for -1 and for what the cluster will refuse."""
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _UNITS.get(text[len(digits) :])
    try:
        read = float(digits) * unit if unit is not None else -1.0
    except ValueError:
        return None
    return read if read > 0 else None
