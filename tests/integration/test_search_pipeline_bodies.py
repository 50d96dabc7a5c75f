"""A pipeline that changes nothing changes nothing, whatever stands in the body of the search."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from search_lane import SearchLane, searching

pytestmark = pytest.mark.integration
__all__ = ["searching"]

TERM = {"term": {"color": "red"}}
PEAR = {"match": {"t": "pear"}}
EVERY: dict[str, Any] = {"match_all": {}}
QUERIES: list[Any] = [
    {"match": {"t": "apple pear"}},
    {"match": {"t": {"query": "appel", "fuzziness": "AUTO", "operator": "and", "minimum_should_match": "2"}}},
    {"match_phrase": {"t": "b pear"}},
    {"match_phrase_prefix": {"t": {"query": "b pe", "slop": 1}}},
    {"match_bool_prefix": {"t": "b pe"}},
    {"multi_match": {"query": "red apple", "fields": ["t^2", "color"]}},
    TERM,
    {"term": {"n": 1}},
    {"terms": {"n": [1, 2]}},
    {"range": {"n": {"gte": 1, "lt": "3", "boost": 2}}},
    {"exists": {"field": "n"}},
    {"prefix": {"color": "re"}},
    {"wildcard": {"color": "r*"}},
    {"regexp": {"color": "r.d"}},
    {"fuzzy": {"t": "appel"}},
    {"ids": {"values": ["1", "2"]}},
    EVERY,
    {"match_none": {}},
    {"bool": {"must": TERM, "should": [PEAR, {"match": {"t": "car"}}], "must_not": {"term": {"n": 3}}}},
    {
        "bool": {
            "should": [PEAR, {"match": {"t": "12"}}],
            "minimum_should_match": 1,
            "filter": [{"exists": {"field": "n"}}],
        }
    },
    {"bool": {}},
    {"constant_score": {"filter": TERM, "boost": 1.5}},
    {"dis_max": {"queries": [PEAR, TERM], "tie_breaker": 0.5}},
    {"boosting": {"positive": EVERY, "negative": TERM, "negative_boost": 0.2}},
    {"function_score": {"query": EVERY, "functions": [{"filter": TERM, "weight": 2}], "boost_mode": "replace"}},
    {"function_score": {"query": EVERY, "field_value_factor": {"field": "n", "factor": 1.2, "missing": 1}}},
    {"script_score": {"query": EVERY, "script": {"source": "doc['n'].value + params.a", "params": {"a": 1.25}}}},
    {"query_string": {"query": "t:(apple OR pear) AND n:[0 TO 2]"}},
    {"simple_query_string": {"query": "apple | pear", "fields": ["t"]}},
    {"more_like_this": {"fields": ["t"], "like": "apple", "min_term_freq": 1, "min_doc_freq": 1}},
    {"intervals": {"t": {"match": {"query": "b pear", "ordered": True}}}},
    {"wrapper": {"query": base64.b64encode(json.dumps(TERM).encode()).decode()}},
    {"script": {"script": "doc['n'].value > 1"}},
    {"match": {"t": '"quoted" {"a":1} true 12 '}},
    {"match": {"t": ""}},
    {"term": {"color": {"value": "RED", "case_insensitive": True, "_name": "x"}}},
    {"nested": {"path": "none", "query": EVERY, "ignore_unmapped": True}},
    {"distance_feature": {"field": "n", "origin": 1, "pivot": 1}},
    {"nope": {}},
    {"match": {"t": "a", "n": "b"}},
    [EVERY],
    "text",
]
BODIES: list[dict[str, Any]] = [
    {"size": 2, "from": 1, "sort": [{"n": {"order": "desc", "missing": "_last"}}, "_score"], "track_scores": True},
    {"sort": "n", "search_after": [1]},
    {"query": PEAR, "post_filter": TERM, "min_score": 0.1, "explain": True},
    {"version": True, "seq_no_primary_term": True},
    {"_source": {"includes": ["n", "t"], "excludes": ["t"]}, "fields": ["color"], "docvalue_fields": ["n"]},
    {"_source": False, "stored_fields": ["_none_"]},
    {"aggs": {"c": {"terms": {"field": "color", "include": "r.*"}, "aggs": {"m": {"max": {"field": "n"}}}}}, "size": 0},
    {"aggregations": {"h": {"histogram": {"field": "n", "interval": 2}}, "f": {"filter": TERM}}},
    {"query": PEAR, "highlight": {"fields": {"t": {"pre_tags": ["<b>"], "post_tags": ["</b>"]}}}},
    {"suggest": {"s": {"text": "aple", "term": {"field": "t"}}}},
    {"query": PEAR, "rescore": {"window_size": 3, "query": {"rescore_query": EVERY, "query_weight": 0.5}}},
    {"collapse": {"field": "color", "inner_hits": {"name": "i", "size": 1, "sort": ["n"]}}, "sort": ["n"]},
    {"script_fields": {"z": {"script": {"source": "doc['n'].value * 2"}}}, "_source": ["n"]},
    {"track_total_hits": False},
    {"track_total_hits": 2, "timeout": "10s", "terminate_after": 2, "stats": ["g"]},
    {"indices_boost": [], "profile": False},
    {"query": {"match_all": {"boost": 1.10}}, "size": 10, "unknown": 1},
    {"size": -1},
    {"size": "3"},
    {"from": 20000},
    {},
]  # fmt: skip
CHAINS: list[Any] = [
    [{"only": {}}],
    [{"filter_query": {"query": EVERY}}, {"only": {}}],
    [{"only": {"filter": EVERY}}, {"only": {}}, {"filter_query": {"query": EVERY}}],
]
"""The first touches nothing, the others take the query around as its normal form."""


def compared(status: int, answer: Any, chained: bool) -> Any:
    if status != 200:
        # What is quoted and where it stood depends on what was put around the query.
        return status, answer["error"]["type"] if not chained else None
    hits = answer["hits"]
    rest = {key: value for key, value in answer.items() if key not in ("took", "hits", "profile")}
    found = [{key: value for key, value in hit.items() if key != "_explanation"} for hit in hits["hits"]]
    return rest, hits.get("total"), hits["max_score"], found


async def test_searches_find_the_same_through_a_pipeline_that_changes_nothing(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    path = f"/{searching.name}/_search"
    wrong = []
    for body in [*({"query": query} for query in QUERIES), *BODIES]:
        plain = await searching.call("POST", path, body, direct=True)
        for number, chain in enumerate(CHAINS):
            if number and "query" not in body:
                continue
            pipeline = {"request_processors": chain, "response_processors": []}
            piped = await searching.call("POST", path, {**body, "search_pipeline": pipeline})
            if compared(*piped, bool(number)) != compared(*plain, bool(number)):
                wrong.append(f"{json.dumps(body)} {number}\n   {piped}\n   {plain}")
    assert not wrong, "\n".join(wrong)


async def test_deep_queries_pass_and_too_deep_ones_are_refused(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    path = f"/{searching.name}/_search"
    chain = {"request_processors": CHAINS[0], "response_processors": []}
    for depth, statuses in ((50, (200, 200)), (300, (200, 400))):
        query: Any = EVERY
        for _ in range(depth):
            query = {"bool": {"must": [query]}}
        plain = await searching.call("POST", path, {"query": query})
        piped = await searching.call("POST", path, {"query": query, "search_pipeline": chain})
        assert (plain[0], piped[0]) == statuses
