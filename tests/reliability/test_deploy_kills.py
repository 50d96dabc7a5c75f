"""Fifty at once while workers die: nothing stuck, no orphan chunk, no half model, every task final."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bridge_fixtures import BridgeProcess, StartBridge
from file_server import FileServer
from ml_client import FINAL, MLClient, until
from server_fixtures import Cluster
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(420)]

MODELS = 50
KILLS = 5
QUICK = ("--lease", "4", "--sync-every", "0.5", "--poll-every", "0.5", "--threads", "1")


class Workers:
    """Two ML nodes; one of them is killed at random, with its inference process, and started again."""

    def __init__(self, start: StartBridge, url: str, folder: Path) -> None:
        self._start, self._url, self._folder = start, url, folder
        self.running = [self._begin(number) for number in range(2)]
        self.kills = 0

    def _begin(self, number: int) -> BridgeProcess:
        return self._start(self._url, "--roles", "ml", *QUICK, data_dir=self._folder / f"worker-{number}", ready=False)

    def kill_one(self) -> None:
        number = random.randrange(2)
        self.running[number].kill()
        self.kills += 1
        self.running[number] = self._begin(number)

    @contextmanager
    def dying(self, times: int, every: tuple[float, float]) -> Iterator[None]:
        """Kill one of them `times` times while the block runs, and to the end of it if it is not over."""
        stop = threading.Event()

        def go() -> None:
            for _ in range(times):
                if stop.wait(random.uniform(*every)):
                    return
                self.kill_one()

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        try:
            yield
            thread.join()
        finally:
            stop.set()
            thread.join(60)


def register_and_deploy(front: MLClient, body: dict[str, Any], number: int) -> tuple[dict[str, Any], ...]:
    """The ended tasks: of registering, and (every second one asks for it in the same call) of deploying."""
    query = "?deploy=true" if number % 2 else ""
    made = front.insist("POST", f"/models/_register{query}", {**body, "name": f"kill-{number}"})
    registered = front.ended(made["task_id"], 240)
    if registered["state"] != "COMPLETED" or query:
        return (registered,)
    return registered, front.ended(front.insist("POST", f"/models/{registered['model_id']}/_deploy")["task_id"], 240)


def found(cluster: Cluster, index: str, query: dict[str, Any], source: Any = True) -> list[dict[str, Any]]:
    body = {"query": query, "size": 1000, "_source": source}
    status, told = cluster.request("POST", f"/{index}/_search", body)
    assert status == 200, told
    return list(told["hits"]["hits"])


@pytest.mark.slow
def test_fifty_registrations_and_deployments_while_workers_die(
    cluster: Cluster, start_bridge: StartBridge, index_prefix: str, tmp_path: Path, model_server: FileServer
) -> None:
    content = tiny_zip(tmp_path / "tiny")
    body = tiny_body(model_server.serve_bytes("tiny.zip", content), content)
    front = MLClient(start_bridge(cluster.url, "--roles", "proxy", *QUICK).url)
    front.setting(max_model_on_node=1000)
    workers = Workers(start_bridge, cluster.url, tmp_path)
    with ThreadPoolExecutor(MODELS) as pool, workers.dying(KILLS, (1.0, 5.0)):
        ended = list(pool.map(lambda n: register_and_deploy(front, body, n), range(MODELS)))
    assert workers.kills == KILLS
    outcomes = Counter((task["task_type"], task["state"]) for tasks in ended for task in tasks)
    unexplained = [task for tasks in ended for task in tasks if task["state"] != "COMPLETED" and not task.get("error")]
    assert not unexplained
    # A worker's death costs a task one of its three attempts at most, so hardly any fails.
    registered = [tasks[0]["model_id"] for tasks in ended if tasks[0]["state"] == "COMPLETED"]
    assert len(registered) >= MODELS - KILLS, outcomes
    _nothing_is_left(cluster, index_prefix, registered)
    for model in registered:
        front.reaches(model, "DEPLOYED", 2, 2, within=90)
    assert {front.predict(model) for model in registered} == {200}


def _nothing_is_left(cluster: Cluster, prefix: str, registered: list[str]) -> None:
    def final() -> bool:
        cluster.request("POST", f"/{prefix}*/_refresh")
        tasks = found(cluster, f"{prefix}task", {"match_all": {}})
        states = {hit["_source"]["state"] for hit in tasks}
        claims = found(cluster, f"{prefix}bridge-claim", {"match_all": {}})
        return states <= set(FINAL) and not claims

    until(final, "every task is final and the queue is empty", 90)
    documents = found(cluster, f"{prefix}model", {"match_all": {}}, ["model_id", "model_state", "chunk_number"])
    chunks = {hit["_source"]["model_id"] for hit in documents if "chunk_number" in hit["_source"]}
    models = {hit["_id"]: hit["_source"]["model_state"] for hit in documents if "chunk_number" not in hit["_source"]}
    assert "REGISTERING" not in models.values(), models
    assert set(models) == set(registered) == chunks


@contextmanager
def read_only(cluster: Cluster, prefix: str, block: str) -> Iterator[None]:
    """What the cluster does to indices when a disk is full: no writes, by either of its two blocks."""
    status, told = cluster.request("PUT", f"/{prefix}*/_settings?expand_wildcards=all", {block: True})
    assert status == 200, told
    try:
        yield
    finally:
        status, told = cluster.request("PUT", f"/{prefix}*/_settings?expand_wildcards=all", {block: None})
        assert status == 200, told


@pytest.mark.parametrize("block", ["index.blocks.read_only_allow_delete", "index.blocks.write"])
def test_q6_indices_that_take_no_writes_stop_nothing_for_good(
    cluster: Cluster, start_bridge: StartBridge, index_prefix: str, tmp_path: Path, model_server: FileServer, block: str
) -> None:
    content = tiny_zip(tmp_path / "tiny")
    body = tiny_body(model_server.serve_bytes("tiny.zip", content), content)
    bridges = [start_bridge(cluster.url, *QUICK) for _ in range(2)]
    clients = [MLClient(bridge.url) for bridge in bridges]
    model = clients[0].register(body)
    clients[0].deployed(model)
    tasks = [
        clients[n % 2].insist("POST", "/models/_register", {**body, "name": f"q6-{n}"})["task_id"] for n in range(8)
    ]
    with read_only(cluster, index_prefix, block):
        for bridge in bridges:
            told = until(lambda bridge=bridge: bridge.health()[1].get("troubles"), "health says why")  # type: ignore[misc]
            assert "cannot be written" in told[0], told
            assert "block" in told[0], told
            # Searches need no write, so nobody is sent away.
            assert bridge.health()[0] == 200
        before = [len(bridge.log_text()) for bridge in bridges]
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            # What needs no write goes on, and nobody takes anybody for dead: both still answer.
            assert [client.predict(model) for client in clients] == [200, 200]
            time.sleep(0.2)
        lines = [bridge.log_text()[start:].count("\n") for bridge, start in zip(bridges, before, strict=True)]
        assert max(lines) < 300, "it waits between its tries"
        assert clients[0].state(model) == ("DEPLOYED", 2, 2)
        status, told = clients[0].call("POST", "/models/_register", {**body, "name": "refused"})
        assert status in (403, 429, 503), told
    until(lambda: not any(bridge.health()[1]["troubles"] for bridge in bridges), "health says that it is over")
    assert {clients[0].ended(task)["state"] for task in tasks} == {"COMPLETED"}
    clients[0].reaches(model, "DEPLOYED", 2, 2)
