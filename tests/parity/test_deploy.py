"""Deploying and undeploying: the same steps to the bridge and to the real ML Commons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_inference import zipped
from fake_service import private_endpoints
from file_server import FileServer
from scenario import DELETED, ML, Side, Step, ended, play
from server_fixtures import Cluster
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

SETTLED = {"model_state": ("DEPLOYED", "DEPLOY_FAILED", "PARTIALLY_DEPLOYED")}
ACTION = {"action_type": "predict", "method": "POST", "url": "http://127.0.0.1:9/x", "request_body": "{}"}
CONNECTOR = {"name": "parity", "version": 1, "protocol": "http", "credential": {"k": "v"}, "actions": [ACTION]}


@pytest.fixture(scope="module", autouse=True)
def _private(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    with private_endpoints(parity_bridge), private_endpoints(reference.url):
        yield


def deploy(name: str, body: Any = None, model: str = "<model>", **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/models/{model}/_deploy", body, **options)


def undeploy(name: str, body: Any = None, model: str = "<model>", **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/models/{model}/_undeploy", body, **options)


def several(name: str, body: Any = None, **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/models/_undeploy", body, **options)


def shown(name: str, **options: Any) -> Step:
    return Step(name, "GET", f"{ML}/models/<model>", **options)


def deployed(name: str = "run", body: Any = None) -> list[Step]:
    """Deploy, wait, look; captures the node."""
    return [
        deploy(f"{name}: deploy", body, capture={"task": "task_id"}),
        ended(f"{name}: ended", capture={"node": "worker_node.0"}),
        shown(f"{name}: state", until=SETTLED),
    ]


CUSTOM = "plugins.ml_commons.allow_custom_deployment_plan"


@pytest.fixture
def no_custom_plans(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    """Node ids are not allowed meanwhile."""
    before: list[tuple[Cluster, Any]] = []
    for cluster in (Cluster(parity_bridge), reference):
        _, told = cluster.request("GET", "/_cluster/settings?flat_settings=true")
        before.append((cluster, told["persistent"].get(CUSTOM)))
        cluster.request("PUT", "/_cluster/settings", {"persistent": {CUSTOM: False}})
    yield
    for cluster, value in before:
        cluster.request("PUT", "/_cluster/settings", {"persistent": {CUSTOM: value}})


@pytest.fixture
def registered(tmp_path: Path, model_server: FileServer) -> list[Step]:
    """Register a tiny real model on both sides."""
    content = tiny_zip(tmp_path / "tiny")
    body = tiny_body(model_server.serve_bytes("tiny.zip", content), content, name="<unique>")
    return [
        Step("register", "POST", f"{ML}/models/_register", body, capture={"task": "task_id"}),
        ended("registered", capture={"model": "model_id"}),
    ]


async def test_bodies(sides: tuple[Side, Side], registered: list[Step]) -> None:
    lenient = "a nested array is 500 in the reference"
    await play(
        [
            *registered,
            deploy("not JSON", "{x"),
            deploy("an array", []),
            deploy("node_ids null", {"node_ids": None}),
            deploy("node_ids a text", {"node_ids": "x"}),
            deploy("node_ids an object", {"node_ids": {}}),
            deploy("node_ids nested", {"node_ids": [["a"]]}, differs=lenient, status=400),
            deploy("unknown nodes only", {"node_ids": ["nonode"]}),
            deploy("unknown model", model="nope"),
            undeploy("undeploy: not JSON", "{x"),
            undeploy("undeploy: an array", []),
            undeploy("undeploy: node_ids a text", {"node_ids": "x"}),
            undeploy("undeploy: unknown model", model="nope"),
            several("several: nothing"),
            several("several: empty", {}),
            several("several: none", {"model_ids": []}),
            several("several: a text", {"model_ids": "x"}),
            several("several: one unknown", {"model_ids": ["nope"]}),
            Step("get on deploy", "GET", f"{ML}/models/<model>/_deploy", skip=("error",)),
            shown("untouched"),
        ],
        *sides,
    )


async def test_a_model_is_deployed_and_undeployed(sides: tuple[Side, Side], registered: list[Step]) -> None:
    predict = Step("predict", "POST", f"{ML}/models/<model>/_predict", {"text_docs": ["hello"]})
    await play(
        [
            *registered,
            shown("registered only"),
            *deployed(),
            predict,
            *deployed("again"),
            *deployed("named", {"node_ids": ["<node>", "nonode"]}),
            deploy("other node", {"node_ids": ["nonode"]}),
            Step("delete", "DELETE", f"{ML}/models/<model>"),
            undeploy("undeploy"),
            shown("undeployed"),
            undeploy("undeploy again"),
            predict,
            several("several", {"model_ids": ["<model>", "nope"], "node_ids": ["<node>"]}, unordered=True),
            *deployed("by the old name"),
            Step("unload", "POST", f"{ML}/models/<model>/_unload"),
            *deployed("for the list"),
            several("several, deployed", {"model_ids": ["<model>"]}),
            shown("undeployed by list"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
        ],
        *sides,
    )


@pytest.mark.usefixtures("no_custom_plans")
async def test_node_ids_where_none_are_allowed(sides: tuple[Side, Side], registered: list[Step]) -> None:
    await play(
        [
            *registered,
            deploy("unknown model", {"node_ids": ["x"]}, model="nope"),
            deploy("named", {"node_ids": ["x"]}),
            undeploy("undeploy: unknown model", {"node_ids": ["x"]}, model="nope"),
            undeploy("undeploy: named", {"node_ids": ["x"]}),
            several("several: named", {"model_ids": ["<model>"], "node_ids": ["x"]}),
            *deployed("none named", {"node_ids": []}),
            undeploy("undeploy: none named", {"node_ids": []}),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
        ],
        *sides,
    )


async def test_undeploying_what_was_never_deployed(sides: tuple[Side, Side], registered: list[Step]) -> None:
    await play(
        [
            *deployed_and_back(registered),
            undeploy("unknown node", {"node_ids": ["nonode"]}),
            shown("undeployed"),
            undeploy("never deployed"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
        ],
        *sides,
    )


def deployed_and_back(registered: list[Step]) -> list[Step]:
    """So that the node's id is known; then the model is as if it had never been deployed."""
    return [*registered, *deployed(), undeploy("back")]


async def test_a_broken_graph_fails_with_the_nodes_reason(sides: tuple[Side, Side], model_server: FileServer) -> None:
    content = zipped()
    body = tiny_body(model_server.serve_bytes("broken.zip", content), content, name="<unique>")
    await play(
        [
            Step("register", "POST", f"{ML}/models/_register", body, capture={"task": "task_id"}),
            ended("registered", capture={"model": "model_id"}),
            deploy("deploy", capture={"task": "task_id"}),
            ended("failed", capture={"node": "worker_node.0"}, skip=("error",)),
            shown("failed for good", until={"model_state": ("DEPLOY_FAILED",)}),
            undeploy("undeploy"),
            shown("undeployed"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
        ],
        *sides,
    )


async def test_a_remote_model(sides: tuple[Side, Side]) -> None:
    body = {"name": "<unique>", "function_name": "remote", "connector_id": "<connector>"}
    private = {**body, "name": "<unique>-2", "deploy_setting": {"is_auto_deploy_enabled": False}}
    call = {"parameters": {"x": "a"}}
    await play(
        [
            Step("connector", "POST", f"{ML}/connectors/_create", CONNECTOR, capture={"connector": "connector_id"}),
            Step("register", "POST", f"{ML}/models/_register", private, capture={"model": "model_id"}),
            Step("opted out", "POST", f"{ML}/models/<model>/_predict", call),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
            Step("register", "POST", f"{ML}/models/_register", body, capture={"model": "model_id"}),
            undeploy("never deployed", {"node_ids": ["nonode"]}),
            shown("undeployed"),
            deploy("deploy", capture={"task": "task_id"}),
            ended("ended", capture={"node": "worker_node.0"}),
            shown("deployed", until=SETTLED),
            undeploy("undeploy"),
            shown("undeployed again"),
            undeploy("and again"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
            Step("delete the connector", "DELETE", f"{ML}/connectors/<connector>"),
        ],
        *sides,
    )
