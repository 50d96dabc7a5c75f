"""`filter_path` and `pretty`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.rest.answers import filtered

FOUND = {"hits": {"total": {"value": 2}, "hits": [{"_id": "a", "_source": {"n": 1}}, {"_id": "b"}]}, "took": 3}


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        (["took"], {"took": 3}),
        (["hits.hits._id"], {"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        (["hits.*.value"], {"hits": {"total": {"value": 2}}}),
        (["**._id"], {"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        (["**.n", "took"], {"hits": {"hits": [{"_source": {"n": 1}}]}, "took": 3}),
        (["-hits"], {"took": 3}),
        (["hits", "-hits.hits"], {"hits": {"total": {"value": 2}}}),
        (["t*k"], {"took": 3}),
        (["nothing"], {}),
    ],
)
def test_what_filter_path_leaves(paths: list[str], left: Any) -> None:
    assert filtered(FOUND, paths) == left


JSON = st.recursive(
    st.integers() | st.booleans(),
    lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), JSON))
def test_everything_may_be_asked_for_and_nothing_taken_away(value: dict[str, Any]) -> None:
    assert filtered(value, ["*"]) == value
    assert filtered(value, ["-zzz"]) == value
    assert filtered(value, ["-*"]) == {}
