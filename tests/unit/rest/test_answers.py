"""`filter_path` and `pretty`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from bridge.rest.answers import answer, filtered

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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{ }"),
        ([], "[ ]"),
        ({"a": []}, '{\n  "a" : [ ]\n}'),
        (
            {"a": [1.5, {"b": None}], "c": True},
            '{\n  "a" : [\n    1.5,\n    {\n      "b" : null\n    }\n  ],\n  "c" : true\n}',
        ),
        ({'"ü': "\n"}, '{\n  "\\"ü" : "\\n"\n}'),
    ],
)
def test_pretty_is_the_clusters(value: Any, text: str) -> None:
    request = make_mocked_request("GET", "/x?pretty")
    shown = answer(request, value)
    assert isinstance(shown.body, bytes)
    assert shown.body.decode() == text + "\n"
    assert json.loads(text) == value
    as_yaml = answer(make_mocked_request("GET", "/x?format=yaml"), value)
    assert as_yaml.content_type == "application/yaml"
    assert yaml.safe_load(as_yaml.body) == value
