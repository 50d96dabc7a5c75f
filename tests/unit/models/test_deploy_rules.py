"""What the cluster's settings and the model's own say about deploying."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from fake_inference import FakeInference
from model_pair import NOT_READY, Pair, until

from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors, RemoteInput
from bridge.errors import InvalidRequest
from bridge.models.held import Holding

LOCAL_OFF = (
    "Local Model is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.local_model.enabled" to true.'
)
REMOTE_OFF = (
    "Remote Inference is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.remote_inference_enabled" to true.'
)
TEXTS = {"text_docs": ["abc"]}
CALL = RemoteInput(parameters={"input": "a"})


class EchoRemote:
    """Answers every call."""

    calls = 0

    async def predict(self, stored: Any, input: Any, **_: Any) -> MLOutput:
        self.calls += 1
        return MLOutput(inference_results=(ModelTensors(output=(ModelTensor(name="response", result="ok"),)),))


def reason(answer: Any) -> tuple[int, str, str]:
    error = answer.body["error"]
    return answer.status, error["type"], error["reason"]


async def remote_model(pair: Pair, **changes: Any) -> str:
    value = Model(name="r", algorithm=FunctionName.REMOTE, model_state=ModelState.REGISTERED, **changes)
    return (await pair.stores.models.create(value, refresh=True)).id


async def test_node_ids_may_be_forbidden(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    pair.set(allow_custom_deployment_plan=False)
    refusal = (400, "illegal_argument_exception", "Don't allow custom deployment plan")
    body = {"node_ids": [one.node_id]}
    assert reason(await one.call("POST", f"/models/{model_id}/_deploy", body)) == refusal
    assert reason(await one.call("POST", f"/models/{model_id}/_undeploy", body)) == refusal
    assert (await one.deploy(model_id, {"node_ids": []}))["state"] == "COMPLETED"


async def test_local_models_may_be_switched_off(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    pair.set(local_model_enabled=False)
    for call, body in (("_deploy", None), ("_predict", TEXTS)):
        answer = await one.call("POST", f"/models/{model_id}/{call}", body)
        assert reason(answer) == (400, "status_exception", LOCAL_OFF)
    assert (await one.call("POST", f"/models/{model_id}/_undeploy")).status == 200


async def test_no_eligible_node(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    pair.set(exclude_nodes__name="n0, n1")
    answer = await one.call("POST", f"/models/{model_id}/_deploy")
    assert reason(answer) == (400, "illegal_argument_exception", "no eligible node found")
    assert reason(await one.call("POST", "/models/nope/_deploy")) == (404, "status_exception", "Failed to find model")


async def test_excluded_nodes_let_go_and_take_up_again(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    pair.set(exclude_nodes__name="n1")
    await pair.reaches(model_id, "DEPLOYED", 1)
    two.runtime.nudge()

    async def gone() -> bool:
        return not pair.engines[1].loaded

    await until(gone)
    assert (await pair.document(model_id)).planning_worker_nodes == (one.node_id,)
    pair.set(exclude_nodes__name="")
    await pair.reaches(model_id, "DEPLOYED", 2)


async def test_each_node_holds_so_many_models_and_says_so(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    first, second = await pair.model(one), await pair.model(one)
    pair.set(max_model_on_node=1)
    assert (await one.deploy(first, {"node_ids": [one.node_id]}))["state"] == "COMPLETED"
    task = await one.deploy(second)
    assert task["state"] == "COMPLETED_WITH_ERROR"
    assert json.loads(task["error"]) == {
        one.node_id: "Exceed max local model per node limit: 1 models are on this node and"
        " plugins.ml_commons.max_model_on_node is 1"
    }
    assert await pair.state(second) == ("PARTIALLY_DEPLOYED", 1)
    # Again for what is there already is no further model.
    assert (await one.deploy(first, {"node_ids": [one.node_id]}))["state"] == "COMPLETED"
    # As soon as there is a place, it is taken without a call.
    await two.call("POST", f"/models/{first}/_undeploy")
    await pair.reaches(second, "DEPLOYED", 2)


async def test_limits_of_tasks(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    pair.set(max_deploy_model_tasks_per_node=0)
    task = await one.deploy(model_id)
    assert task["state"] == "FAILED"
    assert json.loads(task["error"])[one.node_id].startswith("exceed max running task limit")
    pair.set(max_deploy_model_tasks_per_node=1, max_register_model_tasks_per_node=0)
    assert (await one.deploy(model_id))["state"] == "COMPLETED"
    with pytest.raises(AssertionError, match="exceed max running task limit"):
        await pair.model(one)
    pair.set(max_register_model_tasks_per_node=1)
    made = await asyncio.gather(*(pair.model(one) for _ in range(3)))
    assert len(set(made)) == 3


async def test_without_redeploying_nothing_is_loaded_unasked(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    pair.set(model_auto_redeploy_enable=False)
    two = await pair.start(1)
    await pair.reaches(model_id, "PARTIALLY_DEPLOYED", 1)
    assert pair.engines[1].loads == []
    assert (await two.call("POST", f"/models/{model_id}/_predict", TEXTS)).status == 200
    assert (await one.deploy(model_id))["state"] == "COMPLETED"
    assert await pair.state(model_id) == ("DEPLOYED", 2)


async def test_deploying_while_it_is_being_deployed(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    pair.engines[0].gate.clear()
    tasks = [(await one.call("POST", f"/models/{model_id}/_deploy")).body["task_id"] for _ in range(3)]
    assert len(set(tasks)) == 3
    assert (await pair.document(model_id)).bridge_plan == 3
    # Any other write in between harms nothing.
    stored = await pair.stores.models.get(model_id)
    assert stored is not None
    await pair.stores.models.replace(stored, replace(stored.value, description="changed meanwhile"))
    pair.engines[0].gate.set()
    for task_id in tasks:
        assert (await one.ended(task_id))["state"] == "COMPLETED"
    assert pair.engines[0].loads == [model_id]
    shown = (await one.call("GET", f"/models/{model_id}")).body
    assert "bridge_plan" not in shown
    assert (shown["model_state"], shown["description"]) == ("DEPLOYED", "changed meanwhile")


async def test_many_deploy_at_once_and_each_has_its_number(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    answers = await asyncio.gather(
        *(b.call("POST", f"/models/{model_id}/_deploy") for b in (one, two) for _ in range(5))
    )
    assert {a.status for a in answers} == {200}
    assert (await pair.document(model_id)).bridge_plan == 10
    for answer in answers:
        assert (await one.ended(answer.body["task_id"]))["state"] == "COMPLETED"


async def test_a_document_of_the_reference_is_taken_up(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    stored = await pair.stores.models.get(model_id)
    assert stored is not None
    # As ML Commons leaves it: its own nodes, no number of a plan.
    written = replace(
        stored.value,
        model_state=ModelState.DEPLOYED,
        planning_worker_nodes=("llHO3lbGSAOGDC62Er1jvw",),
        planning_worker_node_count=1,
        current_worker_node_count=1,
        deploy_to_all_nodes=True,
    )
    await pair.stores.models.replace(stored, written)
    one.runtime.nudge()

    async def here() -> bool:
        return (await pair.document(model_id)).planning_worker_nodes == (one.node_id,)

    await until(here)
    await pair.reaches(model_id, "DEPLOYED", 1)
    assert (await one.call("POST", f"/models/{model_id}/_predict", TEXTS)).status == 200


async def test_what_is_half_registered_stays_so(pair: Pair) -> None:
    one = await pair.start(0)
    value = Model(name="half", model_state=ModelState.REGISTERING, total_chunks=2)
    model_id = (await pair.stores.models.create(value, refresh=True)).id
    assert (await one.call("POST", f"/models/{model_id}/_deploy")).status == 400
    stats = await one.call("POST", f"/models/{model_id}/_undeploy")
    assert stats.body == {one.node_id: {"stats": {model_id: "not_found"}}}
    assert (await pair.document(model_id)).model_state is ModelState.REGISTERING


async def test_undeploying_the_node_that_failed_leaves_the_rest_whole(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    pair.engines[1].failing["*"] = "broken"
    model_id = await pair.model(one)
    await one.deploy(model_id)
    assert await pair.state(model_id) == ("PARTIALLY_DEPLOYED", 1)
    stats = await one.call("POST", f"/models/{model_id}/_undeploy", {"node_ids": [two.node_id]})
    assert stats.body == {two.node_id: {"stats": {model_id: "not_found"}}}
    assert await pair.state(model_id) == ("DEPLOYED", 1)


async def test_remote_models_are_deployed_without_being_loaded(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await remote_model(pair)
    answer = await one.call("POST", f"/models/{model_id}/_deploy")
    assert {**answer.body, "task_id": ""} == {"task_id": "", "task_type": "DEPLOY_MODEL", "status": "COMPLETED"}
    task = (await one.call("GET", f"/tasks/{answer.body['task_id']}")).body
    assert (task["state"], task["function_name"]) == ("COMPLETED", "REMOTE")
    assert sorted(task["worker_node"]) == sorted([one.node_id, two.node_id])
    assert await pair.state(model_id) == ("DEPLOYED", 2)
    refused = await one.call("POST", f"/models/{model_id}/_deploy", {"node_ids": [one.node_id]})
    assert refused.status == 400
    await two.runtime.stop()
    await pair.reaches(model_id, "DEPLOYED", 1)
    stats = (await one.call("POST", f"/models/{model_id}/_undeploy")).body
    assert stats[one.node_id] == {"stats": {model_id: "undeployed"}}
    assert await pair.state(model_id) == ("UNDEPLOYED", 0)
    again = (await one.call("POST", f"/models/{model_id}/_undeploy")).body
    assert again[one.node_id] == {"stats": {model_id: "not_found"}}
    assert [engine.loads for engine in pair.engines] == [[], []]


async def test_the_first_predict_deploys_a_remote_model(pair: Pair) -> None:
    one = await pair.start(0)
    remote = one.runtime.predictor._remote = EchoRemote()
    model_id = await remote_model(pair)
    await asyncio.gather(*(one.runtime.predictor.predict(model_id, CALL) for _ in range(10)))
    assert remote.calls == 10
    document = await pair.document(model_id)
    assert (document.model_state, document.bridge_plan) == (ModelState.DEPLOYED, 1)
    pair.set(remote_inference_enabled=False)
    assert reason(await one.call("POST", f"/models/{model_id}/_deploy")) == (400, "status_exception", REMOTE_OFF)
    with pytest.raises(InvalidRequest, match="Remote Inference is currently disabled"):
        await one.runtime.predictor.predict(model_id, CALL)


async def test_deploying_on_first_use_may_be_forbidden(pair: Pair) -> None:
    one = await pair.start(0)
    one.runtime.predictor._remote = EchoRemote()
    opted_out = await remote_model(pair, deploy_setting={"is_auto_deploy_enabled": False})
    refusal = f"Auto deployment disabled for this model, please deploy model first Model ID: {opted_out}"
    with pytest.raises(InvalidRequest) as refused:
        await one.runtime.predictor.predict(opted_out, CALL)
    assert (refused.value.reason, refused.value.kind) == (refusal, "illegal_argument_exception")
    await one.call("POST", f"/models/{opted_out}/_deploy")
    await one.runtime.predictor.predict(opted_out, CALL)
    pair.set(model_auto_deploy_enable=False)
    with pytest.raises(InvalidRequest) as refused:
        await one.runtime.predictor.predict(await remote_model(pair), CALL)
    assert (refused.value.reason, refused.value.kind) == (NOT_READY, "illegal_argument_exception")


async def test_local_models_are_deployed_on_first_use_where_it_is_wanted(pair: Pair) -> None:
    one = await pair.start(0, auto_deploy_local=True)
    model_id = await pair.model(one)
    answers = await asyncio.gather(*(one.call("POST", f"/models/{model_id}/_predict", TEXTS) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}, answers[0].body
    assert (await pair.document(model_id)).bridge_plan == 1
    pair.engines[0].failing["*"] = "graph is broken"
    broken = await pair.model(one)
    failed = await one.call("POST", f"/models/{broken}/_predict", TEXTS)
    assert reason(failed) == (500, "engine_exception", "The model could not be deployed: graph is broken")
    opted_out = await pair.model(one, deploy_setting={"is_auto_deploy_enabled": False})
    assert (await one.call("POST", f"/models/{opted_out}/_predict", TEXTS)).status == 400


async def test_a_model_that_nobody_uses_is_undeployed_everywhere(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one, deploy_setting={"model_ttl_minutes": 1})
    await one.deploy(model_id)
    for bridge in (one, two):
        bridge.runtime.nudge()

    async def watched() -> bool:
        return all(model_id in bridge.runtime.uses._watched for bridge in (one, two))

    await until(watched)
    now = [0.0]
    for bridge in (one, two):
        # A minute passes for the one that lets models go, and for the other one that has used it just now.
        uses = bridge.runtime.uses
        began = uses._clock()
        uses._clock = lambda began=began: began + now[0]
    now[0] = 50.0
    assert (await two.call("POST", f"/models/{model_id}/_predict", TEXTS)).status == 200
    await two.runtime.pulse.beat()
    now[0] = 70.0
    await two.runtime.pulse.beat()
    await one.runtime.reconciler.reconcile()
    assert (await pair.state(model_id))[0] == "DEPLOYED"
    now[0] = 111.0
    await two.runtime.pulse.beat()
    pair.set(sync_up_job_interval_in_seconds=0)
    await one.runtime.reconciler.reconcile()
    assert (await pair.state(model_id))[0] == "DEPLOYED"
    pair.set(sync_up_job_interval_in_seconds=10)
    await one.runtime.reconciler.reconcile()
    await pair.reaches(model_id, "UNDEPLOYED", 0)
    document = await pair.document(model_id)
    assert (document.planning_worker_node_count, document.deploy_to_all_nodes) == (0, True)


async def test_a_disabled_model_stays_in_memory(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    assert (await one.call("PUT", f"/models/{model_id}", {"is_enabled": False})).status == 200
    refused = await one.call("POST", f"/models/{model_id}/_predict", TEXTS)
    assert reason(refused) == (403, "status_exception", "Model is disabled.")
    assert model_id in pair.engines[0].loaded
    assert (await one.call("PUT", f"/models/{model_id}", {"is_enabled": True})).status == 200
    assert (await one.call("POST", f"/models/{model_id}/_predict", TEXTS)).status == 200


async def test_a_proxy_sees_that_the_last_node_has_gone(pair: Pair) -> None:
    proxy = await pair.start(0, roles=("proxy",), inference=None)
    worker = await pair.start(1)
    model_id = await pair.model(worker)
    await worker.deploy(model_id)
    assert (await proxy.call("POST", f"/models/{model_id}/_predict", TEXTS)).status == 200
    await worker.runtime.stop()
    await pair.reaches(model_id, "DEPLOY_FAILED", 0)
    waited = await proxy.call("POST", f"/models/{model_id}/_predict", TEXTS)
    assert waited.status == 503


async def test_a_node_that_leaves_in_the_middle(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    everywhere, named = await pair.model(one), await pair.model(one)
    pair.engines[1].gate.clear()
    tasks = [
        (await one.call("POST", f"/models/{everywhere}/_deploy")).body["task_id"],
        (await one.call("POST", f"/models/{named}/_deploy", {"node_ids": [one.node_id, two.node_id]})).body["task_id"],
    ]

    async def loading() -> bool:
        return {everywhere, named} <= set(pair.engines[1].loads)

    await until(loading)
    await two.worker.stop(0.0)
    await two.runtime.stop()
    # Of all nodes it is none any more; of those that were named it is missing.
    assert (await one.ended(tasks[0]))["state"] == "COMPLETED"
    ended = await one.ended(tasks[1])
    assert (ended["state"], json.loads(ended["error"])) == (
        "COMPLETED_WITH_ERROR",
        {two.node_id: "the node has left the cluster"},
    )
    await pair.reaches(everywhere, "DEPLOYED", 1)
    await pair.reaches(named, "PARTIALLY_DEPLOYED", 1)


async def test_a_bad_model_delays_no_other(pair: Pair) -> None:
    one = await pair.start(0)
    good, *bad = [await pair.model(one) for _ in range(4)]
    hanging = asyncio.Event()
    plain = FakeInference.load

    async def load(model_id: str, *rest: Any, **said: Any) -> Any:
        if model_id in bad:
            await hanging.wait()
        return await plain(pair.engines[0], model_id, *rest, **said)

    pair.engines[0].load = load  # type: ignore[method-assign]
    one.runtime.reconciler._turns._patience = 0.2
    tasks = [(await one.call("POST", f"/models/{each}/_deploy")).body["task_id"] for each in bad]
    assert (await one.deploy(good))["state"] == "COMPLETED"
    assert {(await one.call("GET", f"/tasks/{task}")).body["state"] for task in tasks} <= {"CREATED", "RUNNING"}
    hanging.set()
    for task in tasks:
        assert (await one.ended(task))["state"] == "COMPLETED"


async def test_what_alone_was_loading_when_the_process_died_waits_longer(pair: Pair) -> None:
    one = await pair.start(0)
    model_id, other = await pair.model(one), await pair.model(one)
    await one.deploy(other)
    pair.engines[0].gate.clear()
    task = (await one.call("POST", f"/models/{model_id}/_deploy")).body["task_id"]

    async def loading() -> bool:
        return model_id in pair.engines[0].loads

    await until(loading)
    pair.engines[0].failing[model_id] = "the inference process died"
    pair.engines[0].gate.set()
    await one.runtime.inference_died(frozenset({model_id}))
    ended = await one.ended(task)
    assert ended["state"] == "FAILED"
    holding: Holding = one.runtime.reconciler._held[model_id]
    assert holding.retry_at > 0
    await pair.reaches(other, "DEPLOYED", 1)
