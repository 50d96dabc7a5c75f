"""Definitions: ours are kept whole by the bridge, the rest stands in the cluster under the same name."""

from __future__ import annotations

from typing import Any

import pytest
from slow_lane import SlowLane, embedding

from bridge.domain.pipeline import StoredPipeline

SET = {"set": {"field": "a", "value": 1.5}}
PATH = "/_ingest/pipeline/p"


async def test_the_cluster_gets_the_rest_and_the_client_the_whole(slow: SlowLane) -> None:
    await slow.define("p", embedding(), SET, description="d", version=3)
    assert slow.cluster.last("PUT", PATH).json() == {"processors": [SET], "description": "d", "version": 3}
    assert slow.lanes.published[-1] == ["p"]
    slow.cluster.answers["GET", PATH] = (200, {"p": {"processors": [SET]}})
    slow.cluster.answers["GET", "/_ingest/pipeline"] = (200, {"p": {"processors": [SET]}, "n": {"processors": []}})
    whole = {"processors": [embedding(), SET], "description": "d", "version": 3}
    assert await (await slow.client.get(PATH)).json() == {"p": whole}
    assert await (await slow.client.get("/_ingest/pipeline")).json() == {"p": whole, "n": {"processors": []}}


async def test_delete_removes_both(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.cluster.answers["DELETE", PATH] = (200, {"acknowledged": True})
    assert (await slow.client.delete(PATH)).status == 200
    assert slow.lanes.published[-1] == []
    slow.cluster.answers["DELETE", PATH] = (404, {"error": {"type": "resource_not_found_exception"}, "status": 404})
    assert (await slow.client.delete(PATH)).status == 404


async def test_wildcards_delete_what_they_match(slow: SlowLane) -> None:
    for name in ("pa", "pb", "q"):
        await slow.define(name, embedding())
    slow.cluster.answers["DELETE", "/_ingest/pipeline/p*"] = (200, {"acknowledged": True})
    await slow.client.delete("/_ingest/pipeline/p*")
    assert slow.services.pipelines.names() == ["q"]


async def test_a_pipeline_without_ours_passes_through_and_replaces_one_with(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    body = b'{"processors": [ {"set":{"field":"a","value":1.10}} ]}'
    assert (await slow.client.put(PATH, data=body)).status == 200
    assert slow.cluster.last("PUT", PATH).body == body
    assert slow.services.pipelines.names() == []


async def test_what_the_cluster_refuses_is_not_kept(slow: SlowLane) -> None:
    slow.cluster.answers["PUT", PATH] = (403, {"error": "no right", "status": 403})
    answer = await slow.client.put(PATH, json={"processors": [embedding()]})
    assert (answer.status, await answer.json()) == (403, {"error": "no right", "status": 403})
    assert slow.services.pipelines.names() == []


UNUSABLE = "java.lang.IllegalArgumentException: Unable to create the processor as field_map has invalid key or value"


@pytest.mark.parametrize(
    ("config", "status", "kind", "reason"),
    [
        ({}, 400, "parse_exception", "[model_id] required property is missing"),
        ({"model_id": "a"}, 400, "parse_exception", "[field_map] required property is missing"),
        (
            {"model_id": 5, "field_map": {"a": "b"}},
            400,
            "parse_exception",
            "[model_id] property isn't a string, but of type [java.lang.Integer]",
        ),
        (
            {"model_id": "a", "field_map": "b"},
            400,
            "parse_exception",
            "[field_map] property isn't a map, but of type [java.lang.String]",
        ),
        ({"model_id": "a", "field_map": {}}, 500, "exception", UNUSABLE),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "batch_size": 0},
            400,
            "parse_exception",
            "[batch_size] batch size must be a positive integer",
        ),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "batch_size": "x"},
            400,
            "parse_exception",
            "[batch_size] property cannot be converted to an int [x]",
        ),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "zz": 1, "yy": 2},
            400,
            "parse_exception",
            "processor [text_embedding] doesn't support one or more provided configuration parameters [zz, yy]",
        ),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "skip_existing": "true"},
            400,
            "parse_exception",
            "[skip_existing] property isn't a boolean, but of type [java.lang.String]",
        ),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "ignore_failure": "x"},
            400,
            "parse_exception",
            "[ignore_failure] property isn't a boolean, but of type [java.lang.String]",
        ),
        (
            {"model_id": "a", "field_map": {"a": "b"}, "on_failure": []},
            400,
            "parse_exception",
            "[on_failure] processors list cannot be empty",
        ),
        ("x", 400, "parse_exception", "property isn't a map, but of type [java.lang.String]"),
    ],
)
async def test_wrong_configurations_get_the_real_servers_words(
    slow: SlowLane, config: Any, status: int, kind: str, reason: str
) -> None:
    answer = await slow.client.put(PATH, json={"processors": [{"text_embedding": config}]})
    error = (await answer.json())["error"]
    assert (answer.status, error["type"], error["reason"]) == (status, kind, reason)
    assert slow.cluster.seen == []


@pytest.mark.parametrize(
    "body",
    [
        {"processors": [SET, embedding()]},
        {"processors": [{"ml_inference": {}}]},
        {"processors": [{"foreach": {"field": "x", "processor": embedding()}}]},
        {"processors": [{"set": {"field": "a", "value": 1, "on_failure": [embedding()]}}]},
        {"processors": [embedding(**{"if": "ctx.a == 1"})]},
        {"processors": [embedding(on_failure=[SET])]},
        {"processors": [embedding()], "on_failure": [SET]},
        {"processors": [SET], "on_failure": [embedding()]},
        {"processors": [{"pipeline": {"name": "known"}}]},
    ],
)
async def test_what_cannot_be_split_faithfully_is_refused(slow: SlowLane, body: Any) -> None:
    await slow.define("known", embedding())
    sent = len(slow.cluster.seen)
    answer = await slow.client.put(PATH, json=body)
    assert answer.status == 400, await answer.text()
    assert "serve" in (await answer.json())["error"]["reason"] or "bridge" in await answer.text()
    assert len(slow.cluster.seen) == sent


async def test_ignored_failures_leave_the_document_as_it_was_and_handlers_get_it(slow: SlowLane) -> None:
    other = {"text_embedding": {"model_id": "m", "field_map": {"title": "w"}}}
    bad = {"text_embedding": {"model_id": "nope", "field_map": {"title": "v"}}}
    await slow.define("ignoring", {"text_embedding": {**bad["text_embedding"], "ignore_failure": True}}, other)
    await slow.define("handling", {"text_embedding": {**bad["text_embedding"], "on_failure": [other]}})
    slow.index("i")
    slow.cluster.answers["PUT", "/i/_doc/1"] = (201, {})
    for name in ("ignoring", "handling"):
        await slow.client.put(f"/i/_doc/1?pipeline={name}", data=b'{"title":"ab"}')
        assert slow.cluster.last("PUT", "/i/_doc/1").body == b'{"title":"ab","w":[2.0,0.5]}'


async def test_simulate_runs_ours_here_and_the_rest_in_the_cluster(slow: SlowLane) -> None:
    slow.cluster.answers["POST", "/_ingest/pipeline/_simulate"] = lambda one: (
        200,
        {"docs": [{"doc": doc} for doc in one.json()["docs"]]},
    )
    docs = [{"_index": "i", "_source": {"title": 5}}, {"_index": "i", "_source": {"title": "ab"}}]
    body = {"pipeline": {"processors": [embedding(), SET]}, "docs": docs}
    answer = await slow.client.post("/_ingest/pipeline/_simulate", json=body)
    reason = "map type field [title] is neither string nor nested type, cannot process it"
    cause = {"type": "illegal_argument_exception", "reason": reason}
    assert (await answer.json())["docs"] == [
        {"error": {"root_cause": [cause], **cause}},
        {"doc": {"_index": "i", "_source": {"title": "ab", "v": [2.0, 0.5]}}},
    ]
    sent = slow.cluster.last("POST", "/_ingest/pipeline/_simulate").json()
    assert sent["pipeline"] == {"processors": [SET]}
    await slow.define("p", embedding())
    answer = await slow.client.post(f"{PATH}/_simulate", json={"docs": docs[1:]})
    assert (await answer.json())["docs"][0]["doc"]["_source"]["v"] == [2.0, 0.5]


async def test_other_bridges_pipelines_are_found_by_refreshing(slow: SlowLane) -> None:
    cache = slow.services.pipelines
    broken = {"processors": [{"text_embedding": {"model_id": "m"}}]}
    for name, definition in (("a", {"processors": [embedding()]}), ("b", broken)):
        stored = StoredPipeline(kind="ingest", name=name, definition=definition)
        await slow.documents.put(f"ingest:{name}", stored, refresh=True)
    await cache.refresh()
    assert cache.names() == ["a", "b"]
    assert slow.lanes.published[-1] == ["a", "b"]
    kept = cache.get("a")
    await cache.refresh()
    assert cache.get("a") is kept
    slow.index("i", default_pipeline="b")
    answer = await slow.client.put("/i/_doc/1", data=b"{}")
    assert (answer.status, (await answer.json())["error"]["reason"]) == (
        400,
        "[field_map] required property is missing",
    )
