"""`_cluster/settings`: our keys here, the others in the cluster, one answer."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from slow_lane import SlowLane

from bridge.domain.caller import CALLER, Caller
from bridge.proxy.slow.routes import add_routes

ML = "plugins.ml_commons."
PATH = "/_cluster/settings"


def _settings(slow: SlowLane) -> Any:
    assert slow.services.settings is not None
    return slow.services.settings.current


def _without_plugin(slow: SlowLane) -> None:
    slow.cluster.answers["GET", PATH] = (200, {})


async def _put(slow: SlowLane, body: Any, query: str = "") -> tuple[int, Any]:
    answer = await slow.client.put(PATH + query, json=body)
    return answer.status, await answer.json()


async def test_ours_alone_never_reach_the_cluster_and_count_at_once(slow: SlowLane) -> None:
    _without_plugin(slow)
    body = {
        "persistent": {ML + "max_model_on_node": 3},
        "transient": {"plugins": {"ml_commons.only_run_on_ml_node": False}},
    }
    status, told = await _put(slow, body)
    assert (status, told) == (
        200,
        {
            "acknowledged": True,
            "persistent": {"plugins": {"ml_commons": {"max_model_on_node": "3"}}},
            "transient": {"plugins": {"ml_commons": {"only_run_on_ml_node": "false"}}},
        },
    )
    assert slow.cluster.count("PUT", PATH) == 0
    assert (_settings(slow).max_model_on_node, _settings(slow).only_run_on_ml_node) == (3, False)


async def test_the_rest_goes_on_and_the_answers_become_one(slow: SlowLane) -> None:
    _without_plugin(slow)
    told = {"acknowledged": True, "persistent": {"cluster.max_shards_per_node": "500"}, "transient": {}}
    slow.cluster.answers["PUT", PATH] = (200, told)
    body = {
        "persistent": {"cluster": {"max_shards_per_node": 500}, "plugins": {"ml_commons": {"max_model_on_node": 4}}}
    }
    status, answer = await _put(slow, body, "?flat_settings=true")
    assert (status, answer["persistent"]) == (
        200,
        {"cluster.max_shards_per_node": "500", ML + "max_model_on_node": "4"},
    )
    sent = slow.cluster.last("PUT", PATH)
    assert sent.json()["persistent"] == {"cluster.max_shards_per_node": "500"}
    assert "flat_settings=true" in sent.target


async def test_what_the_cluster_refuses_changes_nothing_of_ours(slow: SlowLane) -> None:
    _without_plugin(slow)
    slow.cluster.answers["PUT", PATH] = (400, {"error": {"type": "settings_exception", "reason": "no"}, "status": 400})
    status, _ = await _put(slow, {"persistent": {"cluster.bogus": 1, ML + "max_model_on_node": 4}})
    assert (status, _settings(slow).max_model_on_node) == (400, 10)


async def test_one_bad_key_of_ours_keeps_the_rest_from_the_cluster(slow: SlowLane) -> None:
    _without_plugin(slow)
    body = {"persistent": {"cluster.max_shards_per_node": 5, ML + "max_model_on_node": "abc"}}
    status, told = await _put(slow, body)
    assert status == 400
    assert told["error"]["caused_by"] == {"type": "number_format_exception", "reason": 'For input string: "abc"'}
    assert "caused_by" not in told["error"]["root_cause"][0]
    assert slow.cluster.count("PUT", PATH) == 0


async def test_reads_show_both_in_the_asked_form(slow: SlowLane) -> None:
    _without_plugin(slow)
    await _put(slow, {"transient": {ML + "exclude_nodes._name": ["a", "b"], ML + "max_model_on_node": 2}})
    there = {"persistent": {"cluster.max_shards_per_node": "5"}, "transient": {}, "defaults": {"node.name": "n"}}
    slow.cluster.answers["GET", PATH] = (200, there)
    flat = await (await slow.client.get(PATH + "?flat_settings")).json()
    assert flat["transient"] == {ML + "exclude_nodes._name": ["a", "b"], ML + "max_model_on_node": "2"}
    nested = await (await slow.client.get(PATH + "?filter_path=transient.plugins.*.max*,persistent")).json()
    assert nested == {
        "persistent": {"cluster": {"max_shards_per_node": "5"}},
        "transient": {"plugins": {"ml_commons": {"max_model_on_node": "2"}}},
    }
    asked = await slow.client.get(PATH + "?format=yaml", headers={"Accept": "application/yaml"})
    assert (await asked.json())["transient"]["plugins"]["ml_commons"]["max_model_on_node"] == "2"
    assert slow.cluster.last("GET", PATH).headers["Accept"] == "application/json"
    defaults = (await (await slow.client.get(PATH + "?include_defaults=true&flat_settings=true")).json())["defaults"]
    assert defaults["node.name"] == "n"
    assert defaults[ML + "native_memory_threshold"] == "90"
    assert ML + "max_model_on_node" not in defaults


async def test_null_and_wildcards_reset_here_and_there(slow: SlowLane) -> None:
    _without_plugin(slow)
    await _put(slow, {"persistent": {ML + "max_model_on_node": 2, ML + "max_ml_task_per_node": 3}})
    assert (await _put(slow, {"persistent": {ML + "max_model_on_node": None}}))[1]["persistent"] == {}
    assert _settings(slow).max_model_on_node == 10
    slow.cluster.answers["PUT", PATH] = (200, {"acknowledged": True, "persistent": {}, "transient": {}})
    await _put(slow, {"persistent": {"*": None}})
    assert slow.cluster.last("PUT", PATH).json()["persistent"] == {"*": None}
    assert _settings(slow).max_ml_task_per_node == 10


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"transient":[]}', b"{", b'{"persistent":{"cluster.x":1e400}}'])
async def test_what_is_not_ours_goes_on_byte_by_byte(slow: SlowLane, body: bytes) -> None:
    slow.cluster.answers["PUT", PATH] = (200, b"{ }")
    answer = await slow.client.put(PATH, data=body, headers={"Content-Type": "application/json"})
    assert await answer.read() == b"{ }"
    assert slow.cluster.last("PUT", PATH).body == body
    assert slow.cluster.count("GET", PATH) == 0


async def test_parameters_are_judged_as_the_cluster_does(slow: SlowLane) -> None:
    _without_plugin(slow)
    body = {"transient": {ML + "max_model_on_node": 2}}
    status, told = await _put(slow, body, "?bogus=1")
    reason = "request [/_cluster/settings] contains unrecognized parameter: [bogus]"
    assert (status, told["error"]["reason"]) == (400, reason)
    assert (await _put(slow, body, "?flat_settings=x"))[0] == 400
    assert _settings(slow).max_model_on_node == 10


async def test_a_cluster_with_the_real_plugin_gets_its_keys_too(slow: SlowLane) -> None:
    slow.cluster.answers["GET", PATH] = (200, {"defaults": {"plugins": {"ml_commons": {"max_model_on_node": "10"}}}})
    theirs = {"acknowledged": True, "persistent": {ML + "max_model_on_node": "2"}, "transient": {}}
    slow.cluster.answers["PUT", PATH] = (200, theirs)
    body = {"persistent": {ML + "max_model_on_node": 2, ML + "of_tomorrow": 1}}
    assert (await _put(slow, body))[0] == 200
    assert slow.cluster.last("PUT", PATH).json() == body
    assert _settings(slow).max_model_on_node == 2


@web.middleware
async def _mallory(request: web.Request, handler: Any) -> web.StreamResponse:
    with warnings.catch_warnings(action="ignore", category=web.NotAppKeyWarning):
        request[CALLER] = Caller(name="mallory")
    answer: web.StreamResponse = await handler(request)
    return answer


async def test_on_a_secured_cluster_the_right_is_asked_for_first(slow: SlowLane) -> None:
    _without_plugin(slow)
    refused = {"error": {"type": "security_exception", "reason": "no permissions"}, "status": 403}
    app = web.Application(middlewares=[_mallory])
    add_routes(app, slow.services)
    async with TestClient(TestServer(app)) as client:
        slow.cluster.answers["PUT", PATH] = (403, refused)
        answer = await client.put(PATH, json={"persistent": {ML + "max_model_on_node": 2}})
        assert (answer.status, await answer.json()) == (403, refused)
        assert slow.cluster.last("PUT", PATH).json() == {"persistent": {ML + "bridge.*": None}}
        assert _settings(slow).max_model_on_node == 10
        slow.cluster.answers["PUT", PATH] = (200, {"acknowledged": True, "persistent": {}, "transient": {}})
        answer = await client.put(PATH, json={"persistent": {ML + "max_model_on_node": 2}})
        assert answer.status == 200
        assert _settings(slow).max_model_on_node == 2
