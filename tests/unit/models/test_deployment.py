"""Deploying, undeploying and predicting on one and two nodes, and what happens when parts of them go."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_inference import FakeInference
from model_bridge import model_bridge
from model_pair import NOT_READY, Pair, until

from bridge.errors import Conflict
from bridge.models.node import NodeIdentity


async def test_a_model_on_both_nodes_and_off_again(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    task = await one.deploy(model_id)
    assert (task["state"], sorted(task["worker_node"])) == ("COMPLETED", sorted([one.node_id, two.node_id]))
    assert await pair.state(model_id) == ("DEPLOYED", 2)
    for bridge in (one, two):
        answer = await bridge.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
        assert answer.status == 200
    stats = (await two.call("POST", f"/models/{model_id}/_undeploy")).body
    assert stats == {node: {"stats": {model_id: "undeployed"}} for node in (one.node_id, two.node_id)}
    assert [engine.loaded for engine in pair.engines] == [{}, {}]
    assert await pair.state(model_id) == ("UNDEPLOYED", 0)
    refused = await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
    assert (refused.status, refused.body["error"]["reason"]) == (400, NOT_READY)


async def test_a_model_on_one_chosen_node_answers_at_the_other(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    task = await one.deploy(model_id, {"node_ids": [two.node_id, "nonode"]})
    assert (task["state"], task["worker_node"]) == ("COMPLETED", [two.node_id])
    assert list(pair.engines[0].loaded) == []
    answer = await one.call(
        "POST", f"/models/{model_id}/_predict", {"text_docs": ["abc", "d"], "target_response": ["sentence_embedding"]}
    )
    assert [r["output"][0]["data"][0] for r in answer.body["inference_results"]] == [3.0, 1.0]
    nothing = await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"], "target_response": ["x"]})
    assert nothing.body == {"inference_results": [{}]}
    refused = await one.call("POST", f"/models/{model_id}/_deploy", {"node_ids": [one.node_id]})
    assert refused.status == 400
    assert refused.body["error"]["reason"].startswith(f"Model already deployed to these nodes: [{two.node_id}], but")
    both = await one.deploy(model_id, {"node_ids": [one.node_id, two.node_id]})
    assert both["state"] == "COMPLETED"
    part = (await one.call("POST", f"/models/{model_id}/_undeploy", {"node_ids": [two.node_id]})).body
    assert part == {two.node_id: {"stats": {model_id: "undeployed"}}}
    assert await pair.state(model_id) == ("DEPLOYED", 1)
    unknown = (await one.call("POST", f"/models/{model_id}/_undeploy", {"node_ids": ["nonode"]})).body
    assert unknown == {}
    assert await pair.state(model_id) == ("DEPLOYED", 1)


async def test_a_failing_node_is_named_and_tried_again_later(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    pair.engines[1].failing["*"] = "graph is broken"
    model_id = await pair.model(one)
    task = await one.deploy(model_id)
    assert task["state"] == "COMPLETED_WITH_ERROR"
    assert json.loads(task["error"]) == {two.node_id: "graph is broken"}
    assert await pair.state(model_id) == ("PARTIALLY_DEPLOYED", 1)
    pair.engines[1].failing.clear()
    await pair.reaches(model_id, "DEPLOYED", 2)


async def test_all_nodes_fail_then_a_new_deploy_tries_at_once(pair: Pair) -> None:
    one = await pair.start(0)
    pair.engines[0].failing["*"] = "graph is broken"
    model_id = await pair.model(one)
    task = await one.deploy(model_id)
    assert (task["state"], json.loads(task["error"])) == ("FAILED", {one.node_id: "graph is broken"})
    assert (await pair.state(model_id))[0] == "DEPLOY_FAILED"
    pair.engines[0].failing.clear()
    again = await one.deploy(model_id)
    assert again["state"] == "COMPLETED"
    assert await pair.state(model_id) == ("DEPLOYED", 1)


async def test_a_node_that_joins_gets_what_is_meant_for_all(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    two = await pair.start(1)
    await pair.reaches(model_id, "DEPLOYED", 2)
    assert list(pair.engines[1].loaded) == [model_id]
    await two.runtime.stop()
    await pair.reaches(model_id, "DEPLOYED", 1)


async def test_a_restarted_node_loads_its_models_without_a_call(pair: Pair, tmp_path: Path) -> None:
    engine = FakeInference()
    async with model_bridge(pair.stores, tmp_path / "same", inference=engine) as first:
        model_id = await pair.model(first)
        await first.deploy(model_id)
        node_id = first.node_id
    engine = FakeInference()
    async with model_bridge(pair.stores, tmp_path / "same", inference=engine) as second:
        assert second.node_id == node_id
        await pair.reaches(model_id, "DEPLOYED", 1)
        answer = await second.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
        assert answer.status == 200
    assert pair.server.hits == {"m.zip": 1}


async def test_after_the_death_of_the_inference_process_all_is_loaded_again(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    await pair.engines[0].die()
    answer = await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
    assert answer.status == 200, answer.body
    assert pair.engines[0].loads == [model_id, model_id]
    await pair.reaches(model_id, "DEPLOYED", 1)


async def test_undeploy_while_deploying_wins(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    pair.engines[0].gate.clear()
    submitted = (await one.call("POST", f"/models/{model_id}/_deploy")).body
    assert submitted["task_type"] == "DEPLOY_MODEL"

    async def loading() -> bool:
        return bool(pair.engines[0].loads)

    await until(loading)
    undeploy = asyncio.gather(one.call("POST", f"/models/{model_id}/_undeploy"))
    ended = await one.ended(submitted["task_id"])
    assert ended["state"] == "FAILED"
    assert json.loads(ended["error"]) == {one.node_id: "the model was undeployed meanwhile"}
    pair.engines[0].gate.set()
    (stats,) = await undeploy
    assert stats.body == {one.node_id: {"stats": {model_id: "undeployed"}}}
    assert pair.engines[0].loaded == {}
    assert await pair.state(model_id) == ("UNDEPLOYED", 0)


async def test_the_deploy_task_survives_its_worker(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    for engine in pair.engines:
        engine.gate.clear()
    task_id = (await one.call("POST", f"/models/{model_id}/_deploy")).body["task_id"]

    async def running() -> bool:
        return one.worker.running + two.worker.running > 0

    await until(running)
    holder, other = (one, two) if one.worker.running else (two, one)
    await holder.worker.stop(0.0)
    for engine in pair.engines:
        engine.gate.set()
    ended = await other.ended(task_id)
    assert ended["state"] == "COMPLETED"
    assert await pair.state(model_id) == ("DEPLOYED", 2)


async def test_undeploying_what_was_never_deployed(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    stats = (await one.call("POST", f"/models/{model_id}/_unload")).body
    assert stats == {one.node_id: {"stats": {model_id: "not_found"}}}
    assert await pair.state(model_id) == ("UNDEPLOYED", 0)
    unknown = await one.call("POST", "/models/nope/_undeploy")
    assert unknown.status == 404
    several = await one.call("POST", "/models/_undeploy", {"model_ids": [model_id, "nope"]})
    assert several.body == {one.node_id: {"stats": {model_id: "not_found", "nope": "not_found"}}}


async def test_a_new_configuration_counts_after_the_next_deploy(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    stored = await pair.stores.models.get(model_id)
    assert stored is not None
    config = {**(stored.value.model_config or {}), "pooling_mode": "CLS"}
    await pair.stores.models.replace(stored, replace(stored.value, model_config=config))
    await one.deploy(model_id)
    assert pair.engines[0].loaded[model_id][1].pooling_mode == "CLS"


async def test_disabled_models_are_refused(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one, is_enabled=False)
    await one.deploy(model_id)
    refused = await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
    assert (refused.status, refused.body["error"]["reason"]) == (403, "Model is disabled.")


async def test_queries_and_passages_of_an_asymmetric_model(pair: Pair) -> None:
    one = await pair.start(0)
    config = {
        "model_type": "bert", "embedding_dimension": 3, "framework_type": "sentence_transformers",
        "query_prefix": "query: ", "passage_prefix": "passage: ",
    }  # fmt: skip
    model_id = await pair.model(one, model_config=config)
    await one.deploy(model_id)
    for kind in ("query", "passage"):
        body = {"text_docs": ["abc"], "parameters": {"content_type": kind}}
        assert (await one.call("POST", f"/models/{model_id}/_predict", body)).status == 200
    assert pair.engines[0].kinds == ["query", "passage"]
    refused = await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["abc"]})
    assert refused.status == 400


async def test_two_processes_cannot_share_a_data_folder(pair: Pair, tmp_path: Path) -> None:
    first, second = NodeIdentity(tmp_path / "node"), NodeIdentity(tmp_path / "node")
    kept = first.acquire()
    with pytest.raises(Conflict, match="another bridge uses"):
        second.acquire()
    first.release()
    assert second.acquire() == kept
    second.release()


async def test_the_internal_door_wants_its_token(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    url = f"{one.url}/_bridge/internal/predict/{model_id}"
    for shown in ({}, {"Authorization": "Bearer wrong"}):
        async with one.session.post(url, json={"text_docs": ["a"]}, headers=shown) as answer:
            assert answer.status == 401
