"""The cluster's own response processors: what the bridge makes of hits is what the cluster makes of the same hits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_fixtures import Cluster

from bridge.errors import BridgeError
from bridge.processors.registry import NATIVE_RESPONSE
from bridge.processors.search import SearchContext, SearchServices
from bridge.wire import dumps_exact, loads_exact

pytestmark = [pytest.mark.integration, pytest.mark.parity]

LENIENT = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MAPPINGS = {
    "dynamic": False,
    "properties": {
        "text": {"type": "keyword"},
        "number": {"type": "double"},
        "whole": {"type": "long"},
        "flag": {"type": "boolean"},
        "at": {"type": "integer"},
    },
}


class Index:
    """One index of the plain cluster, filled anew for each comparison."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    def fill(self, documents: list[Any]) -> None:
        self.cluster.request("POST", f"/{self.name}/_delete_by_query?refresh=true", {"query": {"match_all": {}}})
        lines = [
            json.dumps({"index": {"_id": str(at)}}) + "\n" + json.dumps({**one, "at": at})
            for at, one in enumerate(documents)
        ]
        status, answer = self.cluster.request("POST", f"/{self.name}/_bulk?refresh=true", "\n".join([*lines, ""]))
        assert (status, answer["errors"]) == (200, False), answer

    def compare(self, kind: str, config: dict[str, Any], body: dict[str, Any] | None = None) -> None:
        """The same processor in the cluster, and here on what the cluster finds without it."""
        asked = {"query": {"match_all": {}}, "sort": ["at"], "size": 100, **(body or {})}
        pipeline = {"response_processors": [{kind: config}]}
        status, native = self.cluster.request("POST", f"/{self.name}/_search", {**asked, "search_pipeline": pipeline})
        _, plain = self.cluster.request("POST", f"/{self.name}/_search", asked)
        ours = processed(kind, config, plain)
        if isinstance(ours, BridgeError):
            cause = native["error"]["root_cause"][0]
            assert status >= 400, (config, native)
            if status < 500:
                assert (ours.kind, ours.reason) == (cause["type"], cause["reason"])
            return
        assert status == 200, (config, native)
        assert ours["hits"] == native["hits"], config


def processed(kind: str, config: dict[str, Any], response: Any, **attributes: Any) -> Any:
    processor = NATIVE_RESPONSE[kind](config, SearchServices(predictor=None))  # type: ignore[arg-type]

    async def request() -> dict[str, Any]:
        return {}

    exact = loads_exact(json.dumps(response))
    before = json.dumps(response)
    try:
        made = asyncio.run(processor.process(exact, SearchContext(request=request, attributes=attributes)))
    except BridgeError as error:
        return error
    assert json.loads(dumps_exact(exact)) == json.loads(before), "changed in place"
    return json.loads(dumps_exact(made))


@pytest.fixture(scope="module")
def index(cluster: Cluster) -> Iterator[Index]:
    from uuid import uuid4

    name = f"native-{uuid4().hex[:10]}"
    status, answer = cluster.request(
        "PUT", f"/{name}", {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": MAPPINGS}
    )
    assert status == 200, answer
    yield Index(cluster, name)
    cluster.request("DELETE", f"/{name}")


WORDS = st.text(st.sampled_from("abcXYZ ,;.-_é☃😀\n\t0123"), max_size=8)
NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(-1e12, 1e12, allow_nan=False).map(lambda x: x + 0.5))
SCALARS = st.one_of(WORDS, NUMBERS, st.booleans())
VALUES = st.one_of(
    SCALARS,
    st.none(),
    st.lists(WORDS, max_size=4),
    st.lists(NUMBERS.filter(lambda x: isinstance(x, int)), max_size=4),
    st.lists(NUMBERS.filter(lambda x: isinstance(x, float)), max_size=4),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.one_of(st.none(), WORDS), max_size=3),
    st.dictionaries(st.sampled_from(["k", "l"]), SCALARS, max_size=2),
    st.lists(st.dictionaries(st.sampled_from(["k"]), SCALARS), max_size=2),
)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "a.b"]), VALUES, max_size=3), min_size=1, max_size=8)


@LENIENT
@given(documents=DOCUMENTS)
def test_any_documents(index: Index, documents: list[dict[str, Any]]) -> None:
    index.fill(documents)
    for missing in (True, False):
        index.compare("rename_field", {"field": "a", "target_field": "b", "ignore_missing": missing})
    for order in ("asc", "desc"):
        index.compare("sort", {"field": "a", "order": order, **({"target_field": "b"} if order == "desc" else {})})
    for trailing in (True, False):
        index.compare("split", {"field": "a", "separator": "[,;]", "preserve_trailing": trailing})
    index.compare("collapse", {"field": "a"})
    index.compare("truncate_hits", {"target_size": 3})


# Every document has every field: a field that was asked for and is missing makes the cluster answer 500 (collapse) or
# 400 (split), and cannot be told from one that was not asked for.
TYPED = st.fixed_dictionaries(
    {
        "text": st.one_of(WORDS.filter(bool), st.lists(WORDS.filter(bool), min_size=1, max_size=3)),
        "number": st.one_of(st.integers(-5, 5), st.floats(-9, 9), st.lists(st.floats(-9, 9), min_size=1, max_size=3)),
        "whole": st.one_of(st.integers(-3, 3), st.lists(st.integers(-3, 3), min_size=1, max_size=3)),
        "flag": st.booleans(),
    },
)


@LENIENT
@given(documents=st.lists(TYPED, min_size=1, max_size=8))
def test_values_in_fields(index: Index, documents: list[dict[str, Any]]) -> None:
    index.fill(documents)
    bodies: list[dict[str, Any]] = [
        {"fields": ["text", "number", "whole", "flag"]},
        {"docvalue_fields": ["text", "number", "whole"], "_source": False},
    ]
    for body in bodies:
        for field in ("text", "number", "whole", "flag"):
            index.compare("collapse", {"field": field}, body)
            index.compare("sort", {"field": field, "order": "desc", "target_field": "s"}, body)
            index.compare("rename_field", {"field": field, "target_field": "new", "ignore_missing": True}, body)
            index.compare("split", {"field": field, "separator": " ", "target_field": "parts"}, body)


@LENIENT
@given(groups=st.lists(st.integers(0, 40), min_size=1, max_size=40), scored=st.booleans())
def test_collapsed_hits_come_in_the_order_of_the_cluster(index: Index, groups: list[int], scored: bool) -> None:
    index.fill([{"a": f"group {group * 7919}", "whole": group % 3} for group in groups])
    query = {"function_score": {"query": {"match_all": {}}, "field_value_factor": {"field": "whole"}}}
    index.compare("collapse", {"field": "a"}, {"query": query, "sort": ["_score", "at"] if scored else ["at"]})


SEPARATORS = r"""
, a [ae] \s+ \. . x* \d (?=,) (,) ,|; \Q.\E $ ^ \W \b \p{Punct} [\p{Alpha}é] \h \R (?i)A
(?<=,) ,+? a{2} [^a-c] \t é [.\]]
"""


@pytest.mark.parametrize("separator", ["", " ", *SEPARATORS.split()])
def test_separators_mean_what_java_means(index: Index, separator: str) -> None:
    texts = ["a,b,,c,,", ",a", "", "aaa", "a b\tc  ", "a.b.c.", "1a2b3", "x", ";a;", "aéa", "A\nb\n", "l]m.n", "a\r\nb"]
    index.fill([{"a": text} for text in texts])
    for trailing in (True, False):
        index.compare("split", {"field": "a", "separator": separator, "preserve_trailing": trailing})


def test_truncating_takes_the_size_that_was_asked_for() -> None:
    found = {"hits": {"total": {"value": 9, "relation": "eq"}, "hits": [{"_id": "1"}, {"_id": "2"}]}}
    assert processed("truncate_hits", {}, found, original_size=1)["hits"]["hits"] == [{"_id": "1"}]
    prefixed = {"context_prefix": "p"}
    assert processed("truncate_hits", prefixed, found, **{"p.original_size": 0})["hits"]["hits"] == []
    refused = processed("truncate_hits", {}, found)
    assert refused.reason == "Must specify target_size unless an earlier processor set original_size"


def test_answers_without_hits_stay() -> None:
    for kind, config in (
        ("rename_field", {"field": "a", "target_field": "b"}),
        ("sort", {"field": "a"}),
        ("split", {"field": "a", "separator": ","}),
        ("collapse", {"field": "a"}),
        ("truncate_hits", {"target_size": 0}),
    ):
        for empty in ({"took": 1}, {"hits": {"hits": []}}, {"hits": {"total": {"value": 3}, "hits": []}}):
            assert processed(kind, config, empty) == empty
