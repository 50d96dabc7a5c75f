"""On a cluster with the security plugin: who may change settings, and limits of single users."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from file_server import FileServer
from main_job import await_task
from secured_bridge import Users, secured_bridge, users_of
from server_fixtures import Cluster
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PATH = "/_cluster/settings"
KEY = "plugins.ml_commons.max_batch_inference_tasks"
READER = {"cluster_permissions": ["cluster_monitor"], "index_permissions": []}
KEEPER = {"cluster_permissions": ["cluster_monitor", "cluster:admin/settings/update"], "index_permissions": []}


@dataclass
class Secured:
    url: str
    users: Users

    def ask(self, name: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.users.of(name, self.url).request(method, path, body)

    def root(self) -> Cluster:
        return replace(Cluster(self.url), user=self.users.admin.user, password=self.users.admin.password)


@pytest.fixture(scope="module")
def secured(secured_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder: Path = tmp_path_factory.mktemp("secured-settings")
    with users_of(secured_cluster) as users:
        users.make("reader", backend_roles=[], role=READER)
        users.make("keeper", backend_roles=[], role=KEEPER)
        users.make("alice", backend_roles=[], role=READER)
        users.map_to("alice", "ml_full_access")
        with secured_bridge(secured_cluster, users, folder, f".t-{uuid4().hex[:10]}-") as bridge:
            yield Secured(bridge.url, users)
        users.unmap("ml_full_access")


def test_the_right_to_change_settings_is_the_clusters_to_give(secured: Secured) -> None:
    body = {"persistent": {KEY: 5}}
    status, told = secured.ask("reader", "PUT", PATH, body)
    assert (status, told["error"]["type"]) == (403, "security_exception")
    assert secured.ask("reader", "GET", f"{PATH}?filter_path=persistent.{KEY}") == (200, {})
    status, told = secured.ask("keeper", "PUT", PATH, body)
    assert (status, told["persistent"]) == (200, {"plugins": {"ml_commons": {"max_batch_inference_tasks": "5"}}})
    shown = secured.ask("reader", "GET", f"{PATH}?flat_settings=true&filter_path=persistent")
    assert shown == (200, {"persistent": {KEY: "5"}})
    mixed = {"transient": {KEY: 6, "cluster.routing.allocation.node_concurrent_recoveries": 3}}
    assert secured.ask("reader", "PUT", PATH, mixed)[0] == 403
    assert secured.ask("keeper", "PUT", PATH, {"persistent": {KEY: None}})[0] == 200
    assert Cluster(secured.url).request("PUT", PATH, body)[0] == 401


def test_a_controller_limits_its_user(secured: Secured, tmp_path: Path, model_server: FileServer) -> None:
    ml, root = "/_plugins/_ml", secured.root()
    content = tiny_zip(tmp_path / "tiny")
    url = model_server.serve_bytes("tiny.zip", content)
    status, told = root.request("POST", f"{ml}/models/_register?deploy=true", tiny_body(url, content))
    assert status == 200, told
    model = await_task(root, told["task_id"])["model_id"]
    _until(lambda: root.request("GET", f"{ml}/models/{model}")[1]["model_state"] == "DEPLOYED")
    alice = f"alice-{secured.users.suffix}"
    limits = {"user_rate_limiter": {alice: {"limit": "1", "unit": "DAYS"}}}
    assert root.request("POST", f"{ml}/controllers/{model}", limits) == (200, {"model_id": model, "status": "CREATED"})
    predict = ("POST", f"{ml}/models/{model}/_predict", {"text_docs": ["a"]})
    _until(lambda: secured.ask("alice", *predict)[0] == 200)
    status, told = secured.ask("alice", *predict)
    assert (status, told["error"]["reason"].split(".")[0]) == (429, "Request is throttled at user level")
    assert root.request(*predict)[0] == 200
    assert root.request("DELETE", f"{ml}/controllers/{model}")[0] == 200
    assert secured.ask("alice", *predict)[0] == 200


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
