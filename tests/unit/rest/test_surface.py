"""What every route has in common: bodies, content types, unknown routes, wrong methods, failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, register_body, zipped
from file_server import FileServer
from model_bridge import ML, ModelBridge, model_bridge

from bridge.domain.caller import Caller
from bridge.errors import ClusterError, ClusterUnavailable, TooManyRequests
from bridge.rest.identity import Identities
from bridge.store.cluster import Answer
from bridge.store.stores import Stores


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[ModelBridge]:
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference()) as running:
        yield running


async def raw(bridge: ModelBridge, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    async with bridge.session.request(method, f"{bridge.url}{path}", **options) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


async def test_content_types(bridge: ModelBridge) -> None:
    status, body, _ = await raw(
        bridge, "POST", f"{ML}/model_groups/_register", data='{"name":"a"}', headers={"Content-Type": "text/plain"}
    )
    assert (status, body) == (406, {"error": "Content-Type header [text/plain] is not supported", "status": 406})
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    status, _, _ = await raw(bridge, "POST", f"{ML}/model_groups/_register", data='{"name":"a"}', headers=headers)
    assert status == 200


@pytest.mark.parametrize(
    ("data", "kind"), [("{bad", "json_parse_exception"), ("[]", "parsing_exception"), ("3", "parsing_exception")]
)
async def test_malformed_bodies(bridge: ModelBridge, data: str, kind: str) -> None:
    status, body, _ = await raw(
        bridge, "POST", f"{ML}/models/_register", data=data, headers={"Content-Type": "application/json"}
    )
    assert (status, body["error"]["type"], body["status"]) == (400, kind, 400)
    assert body["error"]["root_cause"][0]["type"] == kind


async def test_a_wrong_type_says_where(bridge: ModelBridge) -> None:
    data = '{"node_ids": "x"}'
    status, body, _ = await raw(
        bridge, "POST", f"{ML}/models/x/_deploy", data=data, headers={"Content-Type": "application/json"}
    )
    assert (status, body["error"]["line"], body["error"]["col"]) == (400, 1, 14)


async def test_unknown_routes_and_wrong_methods(bridge: ModelBridge) -> None:
    status, body, _ = await raw(bridge, "GET", f"{ML}/nowhere?x=1")
    assert (status, body) == (400, {"error": f"no handler found for uri [{ML}/nowhere] and method [GET]"})
    status, body, headers = await raw(bridge, "DELETE", f"{ML}/models/_register")
    assert status == 405
    assert body["error"].endswith("and method [DELETE], allowed: [POST]")
    assert headers["Allow"] == "POST"


async def test_pretty(bridge: ModelBridge) -> None:
    async with bridge.session.get(f"{bridge.url}{ML}/models/nope?pretty") as answer:
        assert "\n  " in await answer.text()


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (TooManyRequests("full", retry_after=7), 429, "7"),
        (ClusterUnavailable("away"), 503, "1"),
        (ClusterError(418, {"error": "teapot"}), 418, None),
        (RuntimeError("secret detail"), 500, None),
    ],
)
async def test_failures(
    bridge: ModelBridge, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, retry: str | None
) -> None:
    async def fail(_: str, **__: object) -> None:
        raise error

    monkeypatch.setattr(bridge.runtime.groups, "get", fail)
    got, body, headers = await raw(bridge, "GET", f"{ML}/model_groups/x")
    assert (got, headers.get("Retry-After")) == (status, retry)
    assert "secret" not in str(body)
    assert "Traceback" not in str(body)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"text_docs": []}, 400, "Empty text docs"),
        ({}, 400, "Empty text docs"),
        ({"text_docs": "abc"}, 400, "text_docs must be an array of texts"),
        ({"text_docs": [["a"]]}, 400, "text_docs must be an array of texts"),
        (
            {"text_docs": ["a"], "return_number": "yes"},
            400,
            "Failed to parse value [yes] as only [true] or [false] are allowed.",
        ),
    ],
)
async def test_predict_bodies(
    bridge: ModelBridge, model_server: FileServer, body: dict[str, Any], status: int, reason: str
) -> None:
    content = zipped()
    task = await bridge.register(register_body(model_server.serve_bytes("m.zip", content), content))
    answer = await bridge.call("POST", f"/models/{task['model_id']}/_predict", body)
    assert (answer.status, answer.body["error"]["reason"]) == (status, reason)


async def test_groups_live_and_die(bridge: ModelBridge) -> None:
    made = (await bridge.call("POST", "/model_groups/_register", {"name": "g", "description": "d"})).body
    group_id = made["model_group_id"]
    assert made["status"] == "CREATED"
    taken = await bridge.call("POST", "/model_groups/_register", {"name": "g"})
    assert taken.body["error"]["reason"] == (
        f"The name you provided is already being used by a model group with ID: {group_id}."
    )
    renamed = await bridge.call("PUT", f"/model_groups/{group_id}", {"name": "h"})
    assert renamed.body == {"status": "Updated"}
    again = await bridge.call("POST", "/model_groups/_register", {"name": "g"})
    assert again.status == 200
    group = (await bridge.call("GET", f"/model_groups/{group_id}")).body
    assert list(group) == ["name", "latest_version", "description", "access", "created_time", "last_updated_time"]
    assert (await bridge.call("DELETE", f"/model_groups/{group_id}")).body["result"] == "deleted"
    assert (await bridge.call("DELETE", f"/model_groups/{group_id}")).body["result"] == "not_found"
    assert (await bridge.call("GET", f"/model_groups/{group_id}")).status == 404


class FakeSecurity:
    """A cluster whose authinfo knows one user."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[dict[str, str]] = []

    async def attempt(self, method: str, path: str, *, headers: dict[str, str]) -> Answer:
        self.asked.append(headers)
        if self.status == 400:
            return Answer(400, {"error": "no handler found"}, {})
        known = headers.get("authorization") == "Basic good"
        told = {"user_name": "u", "backend_roles": ["staff"], "roles": ["readers"]}
        return Answer(200, told, {}) if known else Answer(401, "Unauthorized", {})


async def test_known_users_are_remembered_for_a_while_and_others_refused() -> None:
    now = [0.0]
    cluster = FakeSecurity(200)
    identities = Identities(cluster, clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(3):
        assert await identities.of({"authorization": "Basic good"}) == Caller(
            name="u", backend_roles=("staff",), roles=("readers",)
        )
    assert len(cluster.asked) == 1
    with pytest.raises(ClusterError) as refused:
        await identities.of({"authorization": "Basic bad"})
    assert refused.value.cluster_status == 401
    with pytest.raises(ClusterError):
        await identities.of({})
    now[0] = 11.0
    await identities.of({"authorization": "Basic good"})
    assert len(cluster.asked) == 4


async def test_an_open_cluster_is_asked_once_a_minute() -> None:
    now = [0.0]
    cluster = FakeSecurity(400)
    identities = Identities(cluster, clock=lambda: now[0])  # type: ignore[arg-type]
    for _ in range(5):
        assert await identities.of({}) is None
    now[0] = 61.0
    await identities.of({})
    assert len(cluster.asked) == 2


@pytest.mark.parametrize("told", [Answer(404, "not here", {}), Answer(400, {"error": "bad"}, {}), Answer(200, {}, {})])
async def test_what_is_no_answer_of_the_cluster_opens_no_door(told: Answer) -> None:
    class Stranger:
        async def attempt(self, method: str, path: str, *, headers: dict[str, str]) -> Answer:
            return told

    with pytest.raises(ClusterUnavailable):
        await Identities(Stranger()).of({})  # type: ignore[arg-type]


async def test_options_names_the_methods(bridge: ModelBridge) -> None:
    async with bridge.session.options(f"{bridge.url}{ML}/models/m") as answer:
        assert (answer.status, answer.headers["Allow"], await answer.read()) == (200, "DELETE,GET,PUT", b"")


@pytest.mark.parametrize(
    ("path", "allowed"), [("models/m", "DELETE,GET,PUT"), ("models/_search", "GET,POST"), ("stats", "GET")]
)
async def test_head_is_no_get(bridge: ModelBridge, path: str, allowed: str) -> None:
    async with bridge.session.head(f"{bridge.url}{ML}/{path}") as answer:
        assert (answer.status, answer.headers["Allow"], await answer.read()) == (405, allowed, b"")


async def test_options_of_what_is_not_there(bridge: ModelBridge) -> None:
    async with bridge.session.options(f"{bridge.url}{ML}/nowhere/at/all?bogus") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert "Allow" not in answer.headers
        assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


@pytest.mark.parametrize("path", ["models/m?return_content=maybe", "models/m?pretty=maybe", "nowhere?human=maybe"])
async def test_a_switch_that_is_none(bridge: ModelBridge, path: str) -> None:
    status, body, _ = await raw(bridge, "GET", f"{ML}/{path}")
    reason = "Failed to parse value [maybe] as only [true] or [false] are allowed."
    assert (status, body["error"]["reason"]) == (400, reason)


async def test_a_body_that_is_not_in_its_encoding_is_the_clients_mistake(bridge: ModelBridge) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with bridge.session.post(f"{bridge.url}{ML}/models/_search", data=b"{}", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "illegal_argument_exception"


@pytest.mark.parametrize("number", ["1e40", "1e400", "-10000000000000000000"])
async def test_a_number_out_of_range_is_the_clients_mistake(bridge: ModelBridge, number: str) -> None:
    body = '{"name":"a","model_format":"ONNX","model_config":{"embedding_dimension":' + number + "}}"
    headers = {"Content-Type": "application/json"}
    status, answered, _ = await raw(bridge, "POST", f"{ML}/models/_register", data=body, headers=headers)
    assert status == 400, answered


async def test_a_field_given_twice_is_refused(bridge: ModelBridge) -> None:
    body, headers = '{"name":"a","description":"b","name":"c"}', {"Content-Type": "application/json"}
    status, answered, _ = await raw(bridge, "POST", f"{ML}/model_groups/_register", data=body, headers=headers)
    assert status == 400
    assert answered["error"]["reason"].startswith("Duplicate field 'name'\n at [Source: REDACTED")
    assert answered["error"]["reason"].endswith("line: 1, column: 37]")
    undeploy = f"{ML}/models/_undeploy"
    status, _, _ = await raw(bridge, "POST", undeploy, data='{"model_ids":["a"],"model_ids":[]}', headers=headers)
    assert status == 400


async def test_a_byte_order_mark_is_no_part_of_the_body(bridge: ModelBridge) -> None:
    body, headers = b'\xef\xbb\xbf{"name":"marked"}', {"Content-Type": "application/json"}
    status, answered, _ = await raw(bridge, "POST", f"{ML}/model_groups/_register", data=body, headers=headers)
    assert status == 200, answered


async def test_the_clients_name_of_the_request_comes_back(bridge: ModelBridge) -> None:
    for path in ("/models/nope", "/nowhere", "/model_groups/nope"):
        _, _, headers = await raw(bridge, "GET", f"{ML}{path}", headers={"X-Opaque-Id": "mine"})
        assert headers.getall("X-Opaque-Id") == ["mine"]


async def test_configuration_that_ml_commons_left_is_shown_but_for_its_key(tmp_path: Path) -> None:
    stores = Stores.in_memory()
    await stores.plugin_config.create({"master_key": "secret", "create_time": 1}, id="master_key")
    left = {"config_type": "os_chat_root_agent", "ml_configuration": {"agent_id": "a"}, "last_updated_time": 2}
    await stores.plugin_config.create(left, id="os_chat")
    async with model_bridge(stores, tmp_path, inference=FakeInference()) as bridge:
        status, body, _ = await raw(bridge, "GET", f"{ML}/config/os_chat")
        assert (status, body) == (
            200,
            {"type": "os_chat_root_agent", "configuration": {"agent_id": "a"}, "last_update_time": 2},
        )
        for name, expected in (("master_key", 400), ("nope", 404)):
            status, body, _ = await raw(bridge, "GET", f"{ML}/config/{name}")
            assert status == expected
            assert "secret" not in str(body)
