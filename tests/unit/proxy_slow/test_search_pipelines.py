"""Search pipelines between a fake cluster and a fake model: what is stored where, and what is known of it."""

from __future__ import annotations

from typing import Any

from slow_lane import SlowLane

from bridge.domain.pipeline import StoredPipeline

PATH = "/_search/pipeline/p"
OURS = {"ml_inference": {"model_id": "m", "input_map": [{"a": "t"}], "output_map": [{"b": "c"}]}}
RENAME = {"rename_field": {"field": "b", "target_field": "d"}}
FILTER = {"filter_query": {"query": {"match_all": {}}}}
OK = (200, {"acknowledged": True})


async def test_the_cluster_judges_all_natives_and_keeps_those_that_it_can_run(slow: SlowLane) -> None:
    slow.cluster.answers["PUT", PATH] = OK
    body = {"request_processors": [FILTER], "response_processors": [OURS, RENAME], "version": 2}
    assert (await slow.client.put(PATH, json=body)).status == 200
    first, second = [one.json() for one in slow.cluster.seen]
    assert first == {"request_processors": [FILTER], "response_processors": [RENAME], "version": 2}
    assert second == {"request_processors": [FILTER], "response_processors": [], "version": 2}
    assert slow.services.pipelines.search_names() == ["p"]
    stored = (await slow.documents.search({"match_all": {}}))[0].value
    assert (stored.kind, stored.name, stored.definition) == ("search", "p", body)


async def test_what_the_cluster_refuses_is_not_kept(slow: SlowLane) -> None:
    for refusal in ((403, {"error": "no right", "status": 403}), (500, {"error": "x", "status": 500})):
        slow.cluster.answers["PUT", PATH] = refusal
        answer = await slow.client.put(PATH, json={"response_processors": [OURS]})
        assert (answer.status, await answer.json()) == refusal
        assert slow.services.pipelines.search_names() == []


async def test_a_native_pipeline_passes_through_and_replaces_one_of_ours(slow: SlowLane) -> None:
    slow.cluster.answers["PUT", PATH] = OK
    await slow.client.put(PATH, json={"response_processors": [OURS]})
    raw = b'{"request_processors": [ {"filter_query":{"query":{"range":{"n":{"gt":1.10}}}}} ]}'
    assert (await slow.client.put(PATH, data=raw)).status == 200
    assert slow.cluster.last("PUT", PATH).body == raw
    assert slow.services.pipelines.search_names() == []


async def test_ingest_and_search_pipelines_of_one_name_are_two(slow: SlowLane) -> None:
    await slow.define("p", {"text_embedding": {"model_id": "m", "field_map": {"title": "v"}}})
    slow.cluster.answers["PUT", PATH] = OK
    slow.cluster.answers["DELETE", PATH] = OK
    await slow.client.put(PATH, json={"response_processors": [OURS]})
    assert (await slow.client.delete(PATH)).status == 200
    assert (slow.services.pipelines.names(), slow.services.pipelines.search_names()) == (["p"], [])


async def test_other_bridges_pipelines_are_found_by_refreshing(slow: SlowLane) -> None:
    cache = slow.services.pipelines
    broken: dict[str, Any] = {"response_processors": [{"ml_inference": {"model_id": 5}}]}
    later: dict[str, Any] = {"response_processors": [{"of_another_version": {}}]}
    good: dict[str, Any] = {"response_processors": [OURS]}
    for name, definition in (("a", good), ("b", broken), ("c", later)):
        stored = StoredPipeline(kind="search", name=name, definition=definition)
        await slow.documents.put(f"search:{name}", stored, refresh=True)
    await cache.refresh()
    kept = cache.search("a")
    await cache.refresh()
    assert cache.search("a") is kept
    assert cache.search_names() == ["a", "b", "c"]
    statuses = []
    for name in ("b", "c"):
        answer = await slow.client.post(f"/i/_search?search_pipeline={name}", json={})
        statuses.append(answer.status)
    assert statuses == [400, 503]
    assert slow.cluster.seen == []
