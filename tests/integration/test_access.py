"""Access control on a cluster with the security plugin, by a bridge whose account has the documented role only."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from bridge_fixtures import BridgeProcess
from fake_inference import register_body, zipped
from main_job import await_task
from ml_client import until
from secured_bridge import SECURITY, Users, secured_bridge, users_of
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ML = "/_plugins/_ml"
USER = {
    "cluster_permissions": ["cluster_composite_ops", "cluster_monitor", "cluster:admin/ingest/pipeline/*"],
    "index_permissions": [{"index_patterns": ["t-*"], "allowed_actions": ["*"]}],
}
SETTINGS = {
    "plugins.ml_commons.model_access_control_enabled": True,
    "plugins.ml_commons.connector_access_control_enabled": True,
    "plugins.ml_commons.trusted_connector_endpoints_regex": ["^http://127\\.0\\.0\\.1.*$"],
    "plugins.ml_commons.connector.private_ip_enabled": True,
}
CONNECTOR = {
    "name": "hers",
    "version": 1,
    "protocol": "http",
    "credential": {"key": "CanaryOfAConnector"},
    "actions": [{"action_type": "predict", "method": "POST", "url": "http://127.0.0.1:9/x", "request_body": "{}"}],
}
REFUSED = ("privilege", "permission", "Only owner")


@dataclass
class House:
    """A running bridge with users; `things` names what Ada keeps for herself."""

    process: BridgeProcess
    direct: Cluster
    users: Users
    things: dict[str, str]
    folder: Path

    def ask(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call by this user; `{model}` and the like stand for Ada's things."""
        for name, value in self.things.items():
            path = path.replace(f"{{{name}}}", value)
        client = self.users.of(who, self.process.url) if who != "admin" else self.admin
        return client.request(method, path, body)

    @property
    def admin(self) -> Cluster:
        return Cluster(self.process.url, self.direct.user, self.direct.password)

    def register(self, who: str, **changes: Any) -> dict[str, Any]:
        """The ended task of a registration."""
        content = zipped()
        archive = self.folder / f"{uuid4().hex}.zip"
        archive.write_bytes(content)
        body = register_body(f"file://{archive}", content, **changes)
        client = self.users.of(who, self.process.url)
        status, told = client.request("POST", f"{ML}/models/_register", body)
        assert status == 200, told
        return {**await_task(client, told["task_id"]), "task_id": told["task_id"]}


@pytest.fixture(scope="module")
def house(secured_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("secured")
    prefix = f".t-{uuid4().hex[:10]}-"
    with (
        users_of(secured_cluster) as users,
        secured_bridge(secured_cluster, users, folder, prefix) as process,
    ):
        users.make("ada", backend_roles=["research"], role=USER)
        users.make("bob", backend_roles=["sales"], role=USER)
        made = House(process, secured_cluster, users, {}, folder)
        status, told = made.ask("admin", "PUT", "/_cluster/settings", {"persistent": SETTINGS})
        assert status == 200, told
        _furnish(made)
        yield made


def _furnish(house: House) -> None:
    group = {"name": f"hers {house.users.suffix}", "description": "only hers"}
    house.things["group"] = _ok(house.ask("ada", "POST", f"{ML}/model_groups/_register", group))["model_group_id"]
    task = house.register("ada", name="hers", model_group_id=house.things["group"])
    house.things |= {"model": task["model_id"], "task": task["task_id"]}
    limits = {"user_rate_limiter": {"ada": {"limit": "100", "unit": "MINUTES"}}}
    _ok(house.ask("ada", "POST", f"{ML}/controllers/{{model}}", limits))
    made = _ok(house.ask("ada", "POST", f"{ML}/connectors/_create", CONNECTOR))
    house.things["connector"] = made["connector_id"]
    meta = register_body("", b"x", name="in parts", model_group_id=house.things["group"], total_chunks=2)
    meta = {name: value for name, value in meta.items() if name != "url"}
    house.things["upload"] = _ok(house.ask("ada", "POST", f"{ML}/models/_register_meta", meta))["model_id"]


def _ok(answer: tuple[int, Any]) -> Any:
    assert answer[0] == 200, answer
    return answer[1]


PREDICT = {"text_docs": ["x"]}
FORBIDDEN: list[tuple[str, str, Any]] = [
    ("GET", "models/{model}", None),
    ("PUT", "models/{model}", {"description": "mine"}),
    ("DELETE", "models/{model}", None),
    ("POST", "models/{model}/_predict", PREDICT),
    ("POST", "_predict/text_embedding/{model}", PREDICT),
    ("POST", "models/{model}/_deploy", None),
    ("POST", "models/{model}/_load", None),
    ("POST", "models/{model}/_undeploy", None),
    ("POST", "models/{model}/_unload", None),
    ("POST", "models/_undeploy", {"model_ids": ["{model}"]}),
    ("GET", "models/{model}_0", None),
    ("GET", "models/{model}_0?return_content=true", None),
    ("GET", "models/{upload}", None),
    ("POST", "models/{upload}/upload_chunk/0", b"x"),
    ("POST", "models/{upload}/chunk/1", b"x"),
    ("DELETE", "models/{upload}", None),
    ("GET", "tasks/{task}", None),
    ("DELETE", "tasks/{task}", None),
    ("POST", "tasks/{task}/_cancel", None),
    ("GET", "model_groups/{group}", None),
    ("PUT", "model_groups/{group}", {"description": "mine"}),
    ("PUT", "model_groups/{group}", {"access_mode": "public"}),
    ("DELETE", "model_groups/{group}", None),
    ("POST", "models/_register", {"model_group_id": "{group}"}),
    ("POST", "models/_register_meta", {"model_group_id": "{group}", "total_chunks": 1}),
    ("GET", "controllers/{model}", None),
    ("POST", "controllers/{model}", {"user_rate_limiter": {}}),
    ("PUT", "controllers/{model}", {"user_rate_limiter": {}}),
    ("DELETE", "controllers/{model}", None),
    ("GET", "connectors/{connector}", None),
    ("PUT", "connectors/{connector}", {"description": "mine"}),
    ("DELETE", "connectors/{connector}", None),
    ("POST", "models/_register", {"function_name": "remote", "connector_id": "{connector}"}),
]


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN, ids=[f"{m} {p}" for m, p, _ in FORBIDDEN])
def test_what_is_adas_alone_bob_cannot_touch(house: House, method: str, path: str, body: Any) -> None:
    filled = _filled(house, path, body)
    status, told = house.ask("bob", method, f"{ML}/{path}", filled)
    assert status in (400, 403), told
    assert any(word in told["error"]["reason"] for word in REFUSED), told
    assert "hers" not in json.dumps(told)
    # Who owns it may: whatever else is wrong, it is not the right that is missing.
    if method == "GET":
        assert house.ask("ada", method, f"{ML}/{path}")[0] == 200
        assert house.ask("admin", method, f"{ML}/{path}")[0] == 200


def _filled(house: House, path: str, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    text = json.dumps(body)
    for name, value in house.things.items():
        text = text.replace(f"{{{name}}}", value)
    filled = json.loads(text)
    if "_register" in path:
        filled = {**register_body("file:///nowhere.zip", b"x", name="bobs"), **filled}
        if "meta" in path:
            filled.pop("url")
    return filled


@pytest.mark.parametrize("resource", ["models", "model_groups", "tasks", "connectors"])
@pytest.mark.parametrize(
    "body", [{}, {"query": {"exists": {"field": "chunk_number"}}}, {"aggs": {"n": {"terms": {"field": "model_id"}}}}]
)
def test_searches_and_overviews_tell_bob_nothing_of_adas(house: House, resource: str, body: Any) -> None:
    def shown_to(who: str, asked: Any) -> bool:
        _, told = house.ask(who, "POST", f"{ML}/{resource}/_search", asked)
        return any(value in json.dumps(told) for value in house.things.values())

    # Searches lag behind what was written a moment ago.
    until(lambda: shown_to("ada", {"query": {"match_all": {}}, "size": 100}), "ada sees her own things")
    assert not shown_to("bob", body)


@pytest.mark.parametrize("path", ["profile", "profile/models", "profile/models?view=model", "stats"])
def test_profiles_and_stats_tell_bob_nothing_of_adas(house: House, path: str) -> None:
    house.ask("ada", "POST", f"{ML}/models/{{model}}/_predict", PREDICT)
    status, told = house.ask("bob", "GET", f"{ML}/{path}")
    assert (status, house.things["model"] in json.dumps(told)) == (200, False), told


@pytest.mark.parametrize(
    "body", [{"suggest": {"s": {"text": "x", "term": {"field": "name"}}}}, {"aggs": {"g": {"global": {}}}}]
)
def test_searches_that_would_look_past_the_filter_are_refused(house: House, body: Any) -> None:
    assert house.ask("bob", "POST", f"{ML}/models/_search", body)[0] == 400
    assert house.ask("admin", "POST", f"{ML}/models/_search", body)[0] == 200


def test_pipelines_and_neural_queries_run_models_as_their_caller(house: House) -> None:
    index = f"t-{house.users.suffix}"
    embed = {"text_embedding": {"model_id": house.things["model"], "field_map": {"text": "vector"}}}
    house.ask("admin", "PUT", f"/_ingest/pipeline/{index}", {"processors": [embed]})
    neural = {"neural": {"vector": {"query_text": "x", "model_id": house.things["model"], "k": 1}}}
    try:
        status, told = house.ask("bob", "PUT", f"/{index}/_doc/1?pipeline={index}", {"text": "x"})
        assert (status, "privilege" in told["error"]["reason"]) == (403, True), told
        status, told = house.ask("ada", "PUT", f"/{index}/_doc/1?pipeline={index}", {"text": "x"})
        assert "privilege" not in json.dumps(told)
        _ok(house.ask("ada", "PUT", f"/{index}-plain", {}))
        status, told = house.ask("bob", "POST", f"/{index}-plain/_search", {"query": neural})
        assert "privilege" in json.dumps(told), (status, told)
        status, told = house.ask("ada", "POST", f"/{index}-plain/_search", {"query": neural})
        assert "privilege" not in json.dumps(told)
    finally:
        house.ask("admin", "DELETE", f"/_ingest/pipeline/{index}")
        house.ask("admin", "DELETE", f"/{index}-plain")


def test_a_group_shared_by_backend_role(house: House) -> None:
    name = f"shared {house.users.suffix}"
    body = {"name": name, "access_mode": "restricted", "add_all_backend_roles": True}
    group = _ok(house.ask("bob", "POST", f"{ML}/model_groups/_register", body))["model_group_id"]
    stored = _ok(house.ask("bob", "GET", f"{ML}/model_groups/{group}"))
    assert (stored["access"], stored["backend_roles"]) == ("restricted", ["sales"])
    assert stored["owner"]["name"] == f"bob-{house.users.suffix}"
    assert house.ask("ada", "GET", f"{ML}/model_groups/{group}")[0] == 403
    refused = house.ask("ada", "PUT", f"{ML}/model_groups/{group}", {"description": "d"})
    assert refused[0] == 400
    _ok(house.ask("admin", "PUT", f"{ML}/model_groups/{group}", {"backend_roles": ["sales", "research"]}))
    _ok(house.ask("ada", "PUT", f"{ML}/model_groups/{group}", {"description": "d"}))
    assert house.ask("ada", "PUT", f"{ML}/model_groups/{group}", {"access_mode": "public"})[0] == 400
    _ok(house.ask("bob", "PUT", f"{ML}/model_groups/{group}", {"access_mode": "public"}))
    assert "backend_roles" not in _ok(house.ask("ada", "GET", f"{ML}/model_groups/{group}"))
    _ok(house.ask("ada", "DELETE", f"{ML}/model_groups/{group}"))


def test_models_are_undeployed_singly_and_move_only_into_groups_of_ones_own(house: House) -> None:
    both = {"model_ids": [house.things["model"], house.things["upload"]]}
    status, told = house.ask("bob", "POST", f"{ML}/models/_undeploy", both)
    assert (status, told["error"]["reason"]) == (400, "only support undeploy one model")
    task = house.register("bob", name=f"moving {house.users.suffix}")
    move = {"model_group_id": house.things["group"]}
    status, told = house.ask("bob", "PUT", f"{ML}/models/{task['model_id']}", move)
    assert (status, "privilege to re-link" in told["error"]["reason"]) == (403, True), told
    _ok(house.ask("bob", "DELETE", f"{ML}/models/{task['model_id']}"))


def test_a_registration_without_a_group_makes_one_of_the_callers_own(house: House) -> None:
    task = house.register("bob", name=f"bobs {house.users.suffix}")
    model = _ok(house.ask("bob", "GET", f"{ML}/models/{task['model_id']}"))
    group = _ok(house.ask("bob", "GET", f"{ML}/model_groups/{model['model_group_id']}"))
    assert (group["access"], group["owner"]["name"]) == ("private", f"bob-{house.users.suffix}")
    assert house.ask("ada", "GET", f"{ML}/models/{task['model_id']}")[0] == 403
    taken = register_body("file:///nowhere.zip", b"x", name=f"bobs {house.users.suffix}")
    status, told = house.ask("ada", "POST", f"{ML}/models/_register", taken)
    assert (status, "you provided is unavailable" in told["error"]["reason"]) == (400, True), told
    _ok(house.ask("bob", "DELETE", f"{ML}/models/{task['model_id']}"))


def test_strangers_get_the_clusters_own_answer(house: House) -> None:
    gone = house.users.of("bob", house.process.url)
    for client in (Cluster(gone.url), Cluster(gone.url, "nobody", "wrong"), Cluster(gone.url, gone.user, "wrong")):
        real = Cluster(house.direct.url, client.user, client.password, house.direct.ca_file).request("GET", "/_search")
        assert real[0] == 401
        for method, path in (("GET", f"{ML}/models/x"), ("POST", f"{ML}/models/x/_predict"), ("GET", "/_search")):
            assert client.request(method, path) == real


def test_an_expired_user_is_refused_within_seconds(house: House) -> None:
    house.users.make("guest", backend_roles=[], role=USER)
    assert house.ask("guest", "GET", f"{ML}/models/nope")[0] == 404
    assert house.direct.request("DELETE", f"{SECURITY}/internalusers/guest-{house.users.suffix}")[0] == 200
    deadline = time.monotonic() + 30
    while house.ask("guest", "GET", f"{ML}/models/nope")[0] != 401:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_nobody_becomes_another_by_a_header(house: House) -> None:
    import urllib.request

    client = house.users.of("bob", house.process.url)
    assert client.request("GET", f"{ML}/models/{house.things['model']}")[0] == 403
    request = urllib.request.Request(f"{house.process.url}{ML}/models/{house.things['model']}")
    for name in ("X-Proxy-User", "X-Forwarded-User", "opendistro_security_user", "_opendistro_security_user"):
        request.add_header(name, f"ada-{house.users.suffix}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value:
        assert refused.value.code == 401


def test_secrets_show_up_nowhere(house: House) -> None:
    canary = f"Canary{uuid4().hex}"
    digest = hashlib.sha256(b"x").hexdigest()
    url = f"http://ada:{canary}@127.0.0.1:9/x.zip?token={canary}"
    body = {**register_body(url, b"x", name="canary"), "model_content_hash_value": digest}
    client = house.users.of("ada", house.process.url)
    told = _ok(client.request("POST", f"{ML}/models/_register", body))
    with pytest.raises(AssertionError, match="FAILED"):
        await_task(client, told["task_id"])
    secrets = [canary, CONNECTOR["credential"]["key"], *house.users.passwords.values(), house.direct.password]
    hers = (f"{ML}/tasks/{told['task_id']}", f"{ML}/tasks/_search", f"{ML}/models/_search", f"{ML}/stats")
    all_of_it = ("/_bridge/metrics", "/_bridge/health", f"{ML}/connectors/_search", f"{ML}/profile")
    shown = [house.process.log_text()]
    shown += [json.dumps(client.request("GET", path, _body(path))[1]) for path in hers]
    shown += [json.dumps(house.admin.request("GET", path, _body(path))[1]) for path in all_of_it]
    for secret in secrets:
        assert not [text for text in shown if secret in text]


def _body(path: str) -> Any:
    return {"size": 1000} if path.endswith("_search") else None


def test_roles_of_the_ml_plugin_keep_their_meaning_where_they_are_asked_for(
    house: House, index_prefix: str, tmp_path: Path
) -> None:
    house.users.make("reader", backend_roles=[], role=USER)
    house.users.make("worker", backend_roles=[], role=USER)
    house.users.map_to("reader", "ml_read_access")
    house.users.map_to("worker", "ml_full_access")
    try:
        with secured_bridge(
            house.direct, house.users, tmp_path, index_prefix, "--ml-roles", "ml_full_access"
        ) as process:
            search, predict = ("POST", f"{ML}/models/_search", {}), ("POST", f"{ML}/models/nope/_predict", PREDICT)
            for name, may_read, may_run in (("reader", 200, 403), ("worker", 200, 404), ("bob", 403, 403)):
                client = house.users.of(name, process.url)
                assert client.request(*search)[0] == may_read
                status, told = client.request(*predict)
                assert status == may_run
                assert may_run == 404 or "no permissions for [cluster:admin/opensearch/ml/predict]" in str(told)
    finally:
        house.users.unmap("ml_read_access", "ml_full_access")
