"""Search pipelines between a fake cluster and a fake model: what is stored where, and what is known of it."""

from __future__ import annotations

from typing import Any

import pytest
from slow_lane import Seen, SlowLane

from bridge.domain.pipeline import StoredPipeline

PATH = "/_search/pipeline/p"
OURS = {"ml_inference": {"model_id": "m", "input_map": [{"a": "t"}], "output_map": [{"b": "c"}]}}
RENAME = {"rename_field": {"field": "b", "target_field": "d"}}
FILTER = {"filter_query": {"query": {"match_all": {}}}}
OK = (200, {"acknowledged": True})


def judging(seen: Seen) -> Any:
    """A cluster that finds nothing wrong with the processors."""
    if "bridge_judged" not in seen.json():
        return OK
    reason = "pipeline [p] doesn't support one or more provided configuration parameters [bridge_judged]"
    return 400, {"error": {"type": "parse_exception", "reason": reason}, "status": 400}


async def test_the_cluster_judges_all_natives_and_keeps_those_that_it_can_run(slow: SlowLane) -> None:
    slow.cluster.answers["PUT", PATH] = judging
    body = {"request_processors": [FILTER], "response_processors": [OURS, RENAME], "version": 2}
    assert (await slow.client.put(f"{PATH}?filter_path=x&timeout=9s", json=body)).status == 200
    first, second = slow.cluster.seen
    judged = {"request_processors": [FILTER], "response_processors": [RENAME], "version": 2, "bridge_judged": True}
    assert (first.json(), first.target) == (judged, f"{PATH}?timeout=9s")
    assert second.json() == {"request_processors": [FILTER], "response_processors": [], "version": 2}
    assert second.target == f"{PATH}?filter_path=x&timeout=9s"
    assert slow.services.pipelines.search_names() == ["p"]
    stored = (await slow.documents.search({"match_all": {}}))[0].value
    assert (stored.kind, stored.name, stored.definition) == ("search", "p", body)


async def test_the_whole_is_known_before_its_rest_stands_in_the_cluster(slow: SlowLane) -> None:
    known: list[list[str]] = []

    def answer(seen: Seen) -> Any:
        known.append(slow.services.pipelines.search_names())
        return judging(seen)

    slow.cluster.answers["PUT", PATH] = answer
    assert (await slow.client.put(PATH, json={"response_processors": [OURS]})).status == 200
    assert known == [[], ["p"]]


@pytest.mark.parametrize("before", [None, {"response_processors": [OURS], "version": 1}])
@pytest.mark.parametrize("away", [False, True])
async def test_what_was_known_is_put_back_where_the_rest_is_refused(slow: SlowLane, before: Any, away: bool) -> None:
    slow.cluster.answers["PUT", PATH] = judging
    if before is not None:
        assert (await slow.client.put(PATH, json=before)).status == 200

    def answer(seen: Seen) -> Any:
        if "bridge_judged" not in seen.json():
            return 503, {"error": "busy", "status": 503}
        if away:
            slow.services.upstream._bases = ["http://127.0.0.1:1"]
        return judging(seen)

    slow.cluster.answers["PUT", PATH] = answer
    refused = await slow.client.put(PATH, json={"response_processors": [OURS], "version": 2})
    assert refused.status == 503
    found = slow.services.pipelines.search("p")
    stored = [one.value.definition for one in await slow.documents.search({"match_all": {}})]
    assert (found.definition if found is not None else None, stored) == (before, [] if before is None else [before])


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
