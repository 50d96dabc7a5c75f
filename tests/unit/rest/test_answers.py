"""`filter_path` and `pretty`."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EngineError
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


def body(query: str, value: Any) -> bytes:
    written = answer(make_mocked_request("GET", f"/x{query}"), value).body
    assert isinstance(written, bytes)
    return written


def deep(levels: int, inside: Any = 1) -> Any:
    for _ in range(levels):
        inside = {"a": inside}
    return inside


def test_of_several_values_of_a_parameter_the_last_counts() -> None:
    assert body("?filter_path=took&filter_path=hits.total", FOUND) == b'{"hits":{"total":{"value":2}}}'
    assert body("?pretty=true&pretty=false", {"a": 1}) == b'{"a":1}'
    assert body("?format=yaml&format=json", {"a": 1}) == b'{"a":1}'


@pytest.mark.parametrize("query", ["", "?filter_path=*", "?pretty"])
def test_what_only_the_exact_writer_knows_goes_out_too(query: str) -> None:
    value = {
        "big": 2**70,
        "long": -(2**64) - 1,
        "decimal": Decimal("1.50"),
        "data": np.array([[0.1, 2]], dtype=np.float32),
        "none": [float("nan"), np.float32(0.1)],
        "deep": deep(300, [2**65]),
    }
    written = body(query, value)
    for digits in (b"1180591620717411303424", b"-18446744073709551617", b"1.50", b"36893488147419103232"):
        assert digits in written
    told = json.loads(written)
    assert (told["data"], told["none"], told["deep"]) == ([[0.1, 2.0]], [None, 0.1], deep(300, [2**65]))


def test_no_depth_is_too_great_to_be_written() -> None:
    levels = 5000
    assert body("", deep(levels)) == b'{"a":' * levels + b"1" + b"}" * levels
    assert body("?pretty", deep(levels)).count(b"\n") == 2 * levels + 1
    with pytest.raises(EngineError, match="nested too deep for filter_path"):
        body("?filter_path=**.z", deep(levels))
