"""Partial updates: the merged document is embedded, under the version that was read."""

from __future__ import annotations

from typing import Any

import pytest
from slow_lane import SlowLane, embedding

from bridge.proxy.slow.update import merge

PATH = "/i/_update/1"


def stored(source: str, seq_no: int = 4) -> tuple[int, bytes]:
    return 200, f'{{"found":true,"_seq_no":{seq_no},"_primary_term":2,"_source":{source}}}'.encode()


@pytest.fixture
async def lane(slow: SlowLane) -> SlowLane:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["POST", PATH] = (200, {"result": "updated"})
    return slow


async def test_the_merged_document_is_embedded(lane: SlowLane) -> None:
    lane.cluster.answers["GET", "/i/_doc/1"] = stored('{"title":"old","v":[9,9],"m":{"a":1,"n":1e400}}')
    body = {"doc": {"title": "newer", "m": {"b": 2}}, "_source": True}
    answer = await lane.client.post(PATH + "?refresh=true&retry_on_conflict=2", json=body)
    assert await answer.json() == {"result": "updated"}
    seen = lane.cluster.last("POST", PATH)
    assert seen.target == PATH + "?refresh=true&if_seq_no=4&if_primary_term=2"
    assert b'"m":{"a":1,"n":1e400,"b":2}' in seen.body
    assert b'"title":"newer","v":[5.0,0.5]' in seen.body


async def test_somebody_elses_write_makes_it_start_again(lane: SlowLane) -> None:
    versions = iter([stored('{"title":"a"}', 1), stored('{"title":"bb"}', 2)])
    lane.cluster.answers["GET", "/i/_doc/1"] = lambda _: next(versions)
    lane.cluster.answers["POST", PATH] = lambda one: (409, {}) if "if_seq_no=1" in one.target else (200, {})
    assert (await lane.client.post(PATH, json={"doc": {"x": 1}})).status == 200
    assert lane.cluster.last("POST", PATH).json() == {"doc": {"title": "bb", "x": 1, "v": [2.0, 0.5]}}


async def test_the_callers_own_version_is_kept_and_not_tried_again(lane: SlowLane) -> None:
    lane.cluster.answers["GET", "/i/_doc/1"] = stored('{"title":"a"}')
    lane.cluster.answers["POST", PATH] = (409, {"error": "conflict"})
    target = PATH + "?if_seq_no=1&if_primary_term=1"
    assert (await lane.client.post(target, json={"doc": {"x": 1}})).status == 409
    assert lane.cluster.count("POST", PATH) == 1
    assert lane.cluster.last("POST", PATH).target == target


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"doc": {"title": "ab"}, "doc_as_upsert": True}, "doc"),
        ({"doc": {"x": 1}, "upsert": {"title": "ab"}}, "upsert"),
    ],
)
async def test_a_document_that_is_made_is_embedded(lane: SlowLane, body: Any, key: str) -> None:
    assert (await lane.client.post(PATH, json=body)).status == 200
    sent = lane.cluster.last("POST", PATH)
    assert sent.target == PATH
    assert sent.json() == {**body, key: {"title": "ab", "v": [2.0, 0.5]}}


@pytest.mark.parametrize("body", [b'{"script" : "x"}', b"{", b'{"doc": 1}'])
async def test_what_can_not_be_merged_here_goes_on_as_it_came(lane: SlowLane, body: bytes) -> None:
    await lane.client.post(PATH, data=body)
    assert lane.cluster.last("POST", PATH).body == body
    assert lane.model.calls == []


async def test_nothing_new_asks_no_model(lane: SlowLane) -> None:
    lane.cluster.answers["GET", "/i/_doc/1"] = stored('{"title":"a","n":1}')
    await lane.client.post(PATH, json={"doc": {"n": 1}})
    assert lane.cluster.last("POST", PATH).json() == {"doc": {"n": 1}}
    assert lane.model.calls == []


def test_merging_replaces_lists_and_joins_objects() -> None:
    assert merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 1},
    }
