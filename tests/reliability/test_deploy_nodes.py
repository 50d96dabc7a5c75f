"""Several whole bridges on one cluster: who joins gets what is meant for all, who leaves is seen, and nobody lies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from bridge_fixtures import BridgeProcess, StartBridge
from file_server import FileServer
from ml_client import MLClient, until
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(240)]

LEASE = 4.0
QUICK = ("--lease", str(LEASE), "--sync-every", "0.5", "--poll-every", "0.5", "--threads", "1")
SKEWED = Path(__file__).parents[1] / "fixtures" / "skewed"


class Load:
    """Predicts through one bridge, one after the other, until stopped; counts statuses."""

    def __init__(self, client: MLClient, model: str) -> None:
        self.outcomes: Counter[int] = Counter()
        self._client, self._model = client, model
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.outcomes[self._client.predict(self._model)] += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(40)


@pytest.fixture
def body(tmp_path: Path, model_server: FileServer) -> dict[str, object]:
    content = tiny_zip(tmp_path / "tiny")
    return tiny_body(model_server.serve_bytes("tiny.zip", content), content)


def worker(start: StartBridge, url: str, **options: object) -> BridgeProcess:
    return start(url, "--roles", "ml", *QUICK, **options)


def test_joins_leaves_and_deaths(cluster_url: str, start_bridge: StartBridge, body: dict[str, object]) -> None:
    front = MLClient(start_bridge(cluster_url, "--roles", "proxy", *QUICK).url)
    one = worker(start_bridge, cluster_url)
    model = front.register(body)
    front.deployed(model)
    assert front.state(model) == ("DEPLOYED", 1, 1)
    with Load(front, model) as load:
        two = worker(start_bridge, cluster_url)
        front.reaches(model, "DEPLOYED", 2, 2)
        # Killed without a word: seen within the lease and a look.
        one.kill()
        assert front.reaches(model, "DEPLOYED", 1, 1) < 2 * LEASE + 5
        seen = load.outcomes[200]
        until(lambda: load.outcomes[200] > seen + 5, "predicts go on")
        three = worker(start_bridge, cluster_url)
        front.reaches(model, "DEPLOYED", 2, 2)
        # Told to stop: seen at once.
        assert two.stop() == 0
        assert front.reaches(model, "DEPLOYED", 1, 1) < LEASE + 3
    assert set(load.outcomes) == {200}, load.outcomes
    three.kill()
    front.reaches(model, "DEPLOY_FAILED", 0, 1)
    assert front.predict(model) in (400, 503)
    four = worker(start_bridge, cluster_url)
    front.reaches(model, "DEPLOYED", 1, 1)
    until(lambda: front.predict(model) == 200, "the new node answers")
    assert four.process.poll() is None


def test_a_plan_for_one_node_and_the_undeployment_of_a_part(
    cluster_url: str, start_bridge: StartBridge, body: dict[str, object]
) -> None:
    one, two = (start_bridge(cluster_url, *QUICK) for _ in range(2))
    clients = [MLClient(one.url), MLClient(two.url)]
    model = clients[0].register(body)
    nodes = sorted(clients[0].deployed(model)["worker_node"])
    assert len(nodes) == 2
    for client in clients:
        assert client.state(model) == ("DEPLOYED", 2, 2)
    told = clients[1].insist("POST", f"/models/{model}/_undeploy", {"node_ids": nodes[:1]})
    assert told == {nodes[0]: {"stats": {model: "undeployed"}}}
    for client in clients:
        assert client.state(model) == ("DEPLOYED", 1, 1)
        assert client.model(model)["planning_worker_nodes"] == nodes[1:]
        assert client.predict(model) == 200
    # A plan for some nodes is not for those that come later.
    three = MLClient(start_bridge(cluster_url, *QUICK).url)
    time.sleep(2.0)
    assert three.state(model) == ("DEPLOYED", 1, 1)
    status, refused = three.call("POST", f"/models/{model}/_deploy", {"node_ids": nodes[:1]})
    assert (status, refused["error"]["reason"][:45]) == (400, "Model already deployed to these nodes: [" + nodes[1][:5])
    three.deployed(model)
    assert three.state(model) == ("DEPLOYED", 3, 3)
    told = three.insist("POST", "/models/_undeploy", {"model_ids": [model]})
    assert sorted(stats["stats"][model] for stats in told.values()) == ["undeployed"] * 3
    assert {client.state(model) for client in (*clients, three)} == {("UNDEPLOYED", 0, 0)}


def test_q5_wrong_clocks_neither_steal_nor_keep_anything(
    cluster_url: str, start_bridge: StartBridge, body: dict[str, object]
) -> None:
    front = MLClient(start_bridge(cluster_url, "--roles", "proxy", *QUICK).url)
    early, late = (
        worker(start_bridge, cluster_url, environment={"PYTHONPATH": str(SKEWED), "SKEW_SECONDS": skew})
        for skew in ("-600", "600")
    )
    made = [front.insist("POST", "/models/_register", {**body, "name": f"m{n}"})["task_id"] for n in range(6)]
    tasks = [front.ended(task) for task in made]
    assert {task["state"] for task in tasks} == {"COMPLETED"}
    created = [task["last_update_time"] for task in tasks]
    assert any(abs(time.time() * 1000 - at) > 500_000 for at in created), "the clocks are wrong indeed"
    model = tasks[0]["model_id"]
    front.deployed(model)
    front.reaches(model, "DEPLOYED", 2, 2)
    # For longer than a lease nobody takes the other for dead.
    ends = time.monotonic() + 2 * LEASE
    while time.monotonic() < ends:
        assert front.state(model) == ("DEPLOYED", 2, 2)
        assert front.predict(model) == 200
        time.sleep(0.2)
    late.kill()
    assert front.reaches(model, "DEPLOYED", 1, 1) < 2 * LEASE + 5
    # Each bridge judges by its own clock; the one that is asked may be the last to notice.
    until(lambda: front.deploy(model)["state"] == "COMPLETED", "deployed to who is left", 2 * LEASE)
    assert early.process.poll() is None
    for log in (early.log_text(), late.log_text()):
        assert "task.lost" not in log
        assert "task.reopened" not in log
