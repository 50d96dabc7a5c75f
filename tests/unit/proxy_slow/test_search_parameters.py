"""What a search's URL says, which pipeline its indices agree on, and whose point in time it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.proxy.slow.pit import indices_of
from bridge.proxy.slow.search_defaults import SearchDefaults, agreed
from bridge.proxy.slow.search_parameters import Parameters, seconds

PIT = (
    "g-O6QQEIcHJvY3NfaWEWYjktejVUUXZUZkNKaWF1TTNIS2o2dwAWd3Q2T3o1UkpRMjJsd2d0VVFfS0F1dwAAAAAAAAABPhZ6UXVrMzlISlFGQ2tp"
    "LVZEcHNyY0JnARZiOS16NVRRdlRmQ0ppYXVNM0hLajZ3AAA="
)


def test_the_target_for_the_cluster_loses_what_the_body_says() -> None:
    read = Parameters.of(
        "/a%2Cb/_search?q=x%20y&df=t&size=3&search_pipeline=p&filter_path=a&routing=r&pretty&_source=n"
    )
    assert (read.pipeline, read.source_keys, read.verbose) == ("p", ["_source", "size"], False)
    query = {"query_string": {"query": "x y", "analyze_wildcard": "false", "default_field": "t"}}
    assert read.with_query({"size": 1}) == {"size": 1, "query": query}
    kept = read.upstream(folded=False, shaped=False)
    assert kept == "/a%2Cb/_search?size=3&filter_path=a&routing=r&pretty=&_source=n"
    assert read.upstream(folded=True, shaped=True) == "/a%2Cb/_search?routing=r"
    assert read.source_query() == "size=3&_source=n"
    assert Parameters.of("/_search").upstream(folded=True, shaped=True) == "/_search"
    parted = Parameters.of("/_search?a=1;verbose_pipeline;%73ize=3")
    assert (parted.verbose, parted.source_keys) == (True, ["size"])
    assert parted.upstream(folded=True, shaped=True) == "/_search?a=1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5s", 5.0), ("100ms", 0.1), ("2m", 120.0), ("-1", None), ("0s", None), ("x", None), ("5", None), (5, None)],
)
def test_times_are_read(value: Any, expected: float | None) -> None:
    assert seconds(value) == expected


def test_only_a_search_that_is_to_be_cancelled_has_a_deadline() -> None:
    assert Parameters.of("/_search?timeout=1s&cancel_after_time_interval=2s").seconds() == 2.0
    assert Parameters.of("/_search?timeout=5s").seconds() is None


def test_parameters_that_the_normal_form_shows_belong_to_the_source() -> None:
    read = Parameters.of("/_search?rest_total_hits_as_int=true&include_named_queries_score=true")
    assert read.source_keys == ["include_named_queries_score", "track_total_hits"]
    assert read.source_query() == "rest_total_hits_as_int=true&include_named_queries_score=true"
    # The second shapes the hits, too.
    assert read.upstream(folded=True, shaped=True) == "/_search?include_named_queries_score=true"


@pytest.mark.parametrize("query", ["pretty=1", "verbose_pipeline=zork", "pretty=True", "verbose_pipeline=1"])
def test_flags_that_the_cluster_does_not_see_are_judged_in_its_words(query: str) -> None:
    value = query.partition("=")[2]
    with pytest.raises(InvalidRequest, match=rf"Failed to parse value \[{value}\] as only \[true\] or \[false\]"):
        Parameters.of(f"/_search?{query}").check()
    Parameters.of("/_search?pretty&verbose_pipeline=false&human=zork").check()


@pytest.mark.parametrize(("query", "legible"), [("q=%zz", False), ("q=%", False), ("q=%2", False), ("q=%2a", True)])
def test_broken_escapes_are_seen(query: str, legible: bool) -> None:
    assert Parameters.of(f"/_search?{query}").legible is legible


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(["p", None, "p"], "p"), (["p", "q"], None), (["p", "q", "p"], None), (["p", "_none"], "p"), ([None], None),
     ([], None)],
)  # fmt: skip
def test_indices_agree_or_have_none(settings: list[Any], expected: str | None) -> None:
    assert agreed(settings) == expected


class Asking:
    """Answers settings, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def get(self, method: str, path: str, params: Any, headers: Any) -> tuple[int, Any]:
        self.asked.append((path, dict(params)))
        return 200, {"a": {"settings": {"index.search.default_pipeline": "p"}}}


async def test_defaults_are_remembered_for_a_while_and_forgotten_when_told() -> None:
    now, asking = [0.0], Asking()
    defaults = SearchDefaults(asking, stale_seconds=5, clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(2):
        assert await defaults.of("a,other:b,<x-{now/d}>", {}, {}) == "p"
    path = "/a,%3Cx-%7Bnow%2Fd%7D%3E/_settings/index.search.default_pipeline,index.verified_before_close"
    assert [asked for asked, _ in asking.asked] == [path]
    await defaults.of("a,<x-{now/d}>", {"ignore_unavailable": "true"}, {})
    assert asking.asked[-1][1]["ignore_unavailable"] == "true"
    assert await defaults.of("other:b", {}, {}) is None
    now[0] = 6.0
    await defaults.of("a,<x-{now/d}>", {}, {})
    defaults.clear()
    await defaults.of("a,<x-{now/d}>", {}, {})
    assert len(asking.asked) == 4


async def test_what_a_wildcard_stands_for_depends_on_who_asks() -> None:
    asking = Asking()
    defaults = SearchDefaults(asking, stale_seconds=5, clock=lambda: 0.0)  # type: ignore[arg-type]
    for target, expected in (("a", 1), ("a*", 3), ("_all", 5)):
        for caller in ("x", "y", "x"):
            await defaults.of(target, {}, {}, caller=caller)
        assert len(asking.asked) == expected


def test_a_point_in_time_names_its_indices() -> None:
    assert indices_of(PIT) == ["procs_ia"]
    assert indices_of(PIT.rstrip("=")) == ["procs_ia"]


@given(text=st.text(max_size=80))
def test_other_texts_are_no_point_in_time(text: str) -> None:
    try:
        assert isinstance(indices_of(text), list)
    except InvalidRequest:
        return
