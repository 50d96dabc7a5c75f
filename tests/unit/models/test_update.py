"""PUT of models and safe deletes: who may, what is merged, what is noticed at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, register_body, zipped
from file_server import FileServer
from model_bridge import ModelBridge, model_bridge

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.controller import Controller
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.pipeline import StoredPipeline
from bridge.errors import Forbidden, InvalidRequest
from bridge.models.update import ModelUpdate, parse_update
from bridge.store.stores import Stores

CONTENT = zipped()


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[ModelBridge]:
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference()) as running:
        yield running


async def registered(bridge: ModelBridge, server: FileServer, **changes: Any) -> str:
    url = server.serve_bytes("m.zip", CONTENT)
    return str((await bridge.register(register_body(url, CONTENT, **changes)))["model_id"])


async def test_a_deployed_model_notices_at_once(bridge: ModelBridge, model_server: FileServer) -> None:
    model = await registered(bridge, model_server)
    await bridge.deploy(model)
    predict = f"/models/{model}/_predict"
    assert (await bridge.call("POST", predict, {"text_docs": ["abc"]})).status == 200
    told = await bridge.call("PUT", f"/models/{model}", {"is_enabled": False})
    assert (told.status, told.body["result"]) == (200, "updated")
    assert (await bridge.call("POST", predict, {"text_docs": ["abc"]})).status == 403
    await bridge.call("PUT", f"/models/{model}", {"is_enabled": True})
    assert (await bridge.call("POST", predict, {"text_docs": ["abc"]})).status == 200
    assert (await bridge.call("GET", f"/models/{model}")).body["model_state"] == "DEPLOYED"


async def test_simultaneous_changes_are_all_kept(bridge: ModelBridge, model_server: FileServer) -> None:
    model = await registered(bridge, model_server)
    changes = [
        {"description": "new"},
        {"rate_limiter": {"limit": 1}},
        {"rate_limiter": {"unit": "DAYS"}},
        {"deploy_setting": {"is_auto_deploy_enabled": False}},
        {"interface": {"input": {"type": "object"}}},
        {"interface": {"output": {"type": "object"}}},
    ]
    answers = await asyncio.gather(*(bridge.call("PUT", f"/models/{model}", change) for change in changes))
    assert {answer.status for answer in answers} == {200}
    made = (await bridge.call("GET", f"/models/{model}")).body
    assert made["description"] == "new"
    assert made["rate_limiter"] == {"limit": "1", "unit": "DAYS"}
    assert list(made["interface"]) == ["output", "input"]


async def test_normalizing_can_be_switched_off_again(bridge: ModelBridge, model_server: FileServer) -> None:
    model = await registered(bridge, model_server)
    for value, kept in ((True, True), (False, None)):
        change = {"model_config": {"model_type": "bert", "normalize_result": value}}
        assert (await bridge.call("PUT", f"/models/{model}", change)).status == 200
        config = (await bridge.call("GET", f"/models/{model}")).body["model_config"]
        assert config.get("normalize_result") is kept


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ({"model_state": ModelState.DEPLOYING}, 409),
        ({"algorithm": FunctionName.SPARSE_ENCODING}, 403),
        ({"is_hidden": True}, 403),
    ],
)
async def test_models_that_cannot_be_changed(
    bridge: ModelBridge, model_server: FileServer, model: dict[str, Any], status: int
) -> None:
    model_id = await registered(bridge, model_server)
    stored = await bridge.stores.models.get(model_id)
    assert stored is not None
    await bridge.stores.models.create(replace(stored.value, **model), id="odd")
    answer = await bridge.call("PUT", "/models/odd", {"description": "x"})
    assert (answer.status, answer.body["error"]["type"]) == (status, "status_exception")


async def test_a_move_takes_the_next_version_of_the_other_group(bridge: ModelBridge, model_server: FileServer) -> None:
    first = await registered(bridge, model_server, name="first")
    second = await registered(bridge, model_server, name="second")
    target = (await bridge.call("GET", f"/models/{second}")).body["model_group_id"]
    assert (await bridge.call("PUT", f"/models/{first}", {"model_group_id": target})).status == 200
    moved = (await bridge.call("GET", f"/models/{first}")).body
    assert (moved["model_group_id"], moved["model_version"]) == (target, "2")
    assert (await bridge.call("GET", f"/model_groups/{target}")).body["latest_version"] == 2


class Remote:
    """Changes connectors of remote models, and says which."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, stored: Any, changes: Any, caller: Caller | None) -> dict[str, Any]:
        self.seen.append((stored.id, changes.connector_id, changes.connector, caller))
        return {"connector_id": changes.connector_id} if changes.connector_id else {"connector": changes.connector}


async def test_connectors_of_remote_models(bridge: ModelBridge) -> None:
    remote = Remote()
    runtime = bridge.runtime
    update = ModelUpdate(
        models=bridge.stores.models,
        groups=runtime.groups,
        access=runtime.access,
        known=runtime.known,
        connectors=remote,
    )
    base = Model(name="r", algorithm=FunctionName.REMOTE, model_state=ModelState.REGISTERED)
    await bridge.stores.models.create(replace(base, connector_id="c1"), id="by-id")
    await bridge.stores.models.create(replace(base, connector={"name": "c"}), id="inside")
    await update.update("by-id", parse_update({"connector_id": "c2"}))
    changed = await bridge.stores.models.get("by-id")
    assert changed is not None
    assert changed.value.connector_id == "c2"
    await update.update("inside", parse_update({"connector": {"name": "d"}}))
    with pytest.raises(InvalidRequest, match="does not have a connector_id field"):
        await update.update("inside", parse_update({"connector_id": "c2"}))
    with pytest.raises(InvalidRequest, match="does not have an inline connector"):
        await update.update("by-id", parse_update({"connector": {"name": "d"}}))
    assert [each[0] for each in remote.seen] == ["by-id", "inside"]


async def test_hidden_models_are_for_admins(bridge: ModelBridge, model_server: FileServer) -> None:
    model = await registered(bridge, model_server)
    stored = await bridge.stores.models.get(model)
    assert stored is not None
    await bridge.stores.models.replace(stored, replace(stored.value, is_hidden=True))
    assert (await bridge.call("GET", f"/models/{model}")).status == 403
    assert (await bridge.call("DELETE", f"/models/{model}")).status == 403
    change = parse_update({"description": "x"})
    with pytest.raises(Forbidden):
        await bridge.runtime.update.update(model, change, Caller(name="somebody"))
    await bridge.runtime.update.update(model, change, Caller(name="admin", admin=True))


async def test_a_safe_delete_names_the_pipelines(tmp_path: Path, model_server: FileServer) -> None:
    settings = FixedSettings(ClusterSettings(safe_delete_model=True))
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference(), settings=settings) as bridge:
        model = await registered(bridge, model_server)
        inner = {"processors": [{"ml_inference": {"model_id": model}}]}
        for kind, name, definition in (
            ("ingest", "b", {"processors": [{"text_embedding": {"model_id": model}}]}),
            ("ingest", "a", {"processors": [{"set": {"on_failure": [{"x": inner}]}}]}),
            ("search", "c", {"request_processors": [{"x": {"model_id": "other", "field": model}}]}),
        ):
            pipeline = StoredPipeline(kind=kind, name=name, definition=definition)
            await bridge.stores.pipelines.put(f"{kind}:{name}", pipeline)
        refused = await bridge.call("DELETE", f"/models/{model}")
        assert (refused.status, refused.body["error"]["reason"]) == (
            409,
            "2 ingest pipelines are still using this model, please delete or update the pipelines first: [a, b]",
        )
        for name in "ab":
            await bridge.stores.pipelines.delete(f"ingest:{name}")
        await bridge.stores.controllers.put(model, Controller(model_id=model, user_rate_limiter={}))
        assert (await bridge.call("DELETE", f"/models/{model}")).body["result"] == "deleted"
        assert await bridge.stores.controllers.get(model) is None
        assert (await bridge.call("DELETE", f"/models/{model}")).status == 404
