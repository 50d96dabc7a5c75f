"""Each process of the bridge may die alone; what was asked for is there again without a call from the user."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import main_job
import psutil
import pytest
from bridge_fixtures import BridgeProcess, StartBridge
from file_server import FileServer
from local_node import LocalNode, free_port
from server_fixtures import Cluster

pytestmark = pytest.mark.reliability

APP, FRONT, INFERENCE = "bridge.cli.app_child", "bridge.cli.front_child", "bridge.engines.process"


def until(condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.05)


def pid_of(bridge: BridgeProcess, module: str) -> int:
    """The process of this bridge that runs `module`."""
    for child in psutil.Process(bridge.process.pid).children(recursive=True):
        try:
            if module in child.cmdline():
                return child.pid
        except psutil.NoSuchProcess:
            continue
    raise AssertionError(f"no {module} below {bridge.process.pid}")


def kill(bridge: BridgeProcess, module: str) -> None:
    """kill -9 it, and return once another one is there."""
    old = pid_of(bridge, module)
    os.kill(old, signal.SIGKILL)

    def another() -> bool:
        try:
            return pid_of(bridge, module) != old
        except AssertionError:
            return False

    until(another, f"another {module}")


class Load:
    """Plain searches from a few clients, each on a kept connection's worth of requests, until stopped."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.outcomes: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]

    def _run(self) -> None:
        request = urllib.request.Request(
            f"{self.url}/_search", b'{"size":0,"query":{"match_all":{}}}', {"Content-Type": "application/json"}
        )
        while not self._stop.is_set():
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    answer.read()
                    self.outcomes[str(answer.status)] += 1
            except (urllib.error.URLError, OSError) as error:
                self.outcomes[repr(error)] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        until(lambda: self.outcomes.total() > 20, "load has begun")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


@contextmanager
def deployed(bridge: BridgeProcess, archive: Path, files: FileServer) -> Iterator[tuple[Cluster, str]]:
    """A bridge with the model deployed; undeployed again at the end, so that other tests have the memory."""
    client = Cluster(bridge.url)
    model = main_job.register_minilm(client, archive, files)
    main_job.deploy(client, model)
    yield client, model


def predicts(client: Cluster, model: str) -> bool:
    status, _ = client.request("POST", f"/_plugins/_ml/models/{model}/_predict", {"text_docs": ["a"]})
    return status == 200


@pytest.mark.timeout(240)
def test_no_plain_search_fails_when_inference_or_application_is_killed(
    cluster_url: str, start_bridge: StartBridge, minilm_onnx_zip: Path, model_server: FileServer
) -> None:
    bridge = start_bridge(cluster_url)
    with deployed(bridge, minilm_onnx_zip, model_server) as (client, model), Load(bridge.url) as load:
        for module in (INFERENCE, INFERENCE, APP):
            before = load.outcomes["200"]
            kill(bridge, module)
            until(lambda: predicts(client, model), "the model answers again")
            until(lambda seen=before: load.outcomes["200"] > seen + 50, "searches go on")  # type: ignore[misc]
    assert set(load.outcomes) == {"200"}, load.outcomes


@pytest.mark.timeout(240)
def test_deployed_survives_the_restart_of_bridge_and_cluster(
    private_cluster: LocalNode,
    start_bridge: StartBridge,
    minilm_onnx_zip: Path,
    model_server: FileServer,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    bridge = start_bridge(private_cluster.url, data_dir=folder)
    with deployed(bridge, minilm_onnx_zip, model_server) as (client, model):
        before = main_job.predict(client, model, "today is sunny")
        private_cluster.kill()
        private_cluster.restart()
        until(lambda: predicts(client, model), "the model answers after the cluster's restart")
    assert bridge.stop() == 0
    bridge = start_bridge(private_cluster.url, data_dir=folder)
    until(lambda: predicts(Cluster(bridge.url), model), "the model answers after the bridge's restart")
    bridge.kill()
    # Another data folder is another node: a model deployed to all nodes comes up there as well.
    bridge = start_bridge(private_cluster.url, data_dir=tmp_path / "new")
    client = Cluster(bridge.url)
    until(lambda: predicts(client, model), "the model answers on a new node")
    assert main_job.predict(client, model, "today is sunny") == pytest.approx(before, abs=1e-6)
    until(
        lambda: client.request("GET", f"/_plugins/_ml/models/{model}")[1]["model_state"] == "DEPLOYED",
        "the state follows from the live node alone",
    )


@pytest.mark.timeout(240)
def test_started_before_the_cluster_it_waits_and_says_so(
    private_node: Callable[..., LocalNode], start_bridge: StartBridge
) -> None:
    port = free_port()
    bridge = start_bridge(f"http://127.0.0.1:{port}", ready=False)
    until(lambda: bridge.health()[0] == 503, "health answers before the cluster is there")
    until(lambda: "waiting for the cluster" in bridge.log_text(), "the log says what it waits for")
    private_node(port=port)
    bridge.wait_until_ready()
    assert bridge.stop() == 0


@pytest.mark.timeout(120)
def test_sigterm_under_load_fails_no_request_that_was_taken(cluster_url: str, start_bridge: StartBridge) -> None:
    bridge = start_bridge(cluster_url)
    with Load(bridge.url) as load:
        bridge.process.terminate()
        assert bridge.process.wait(40) == 0
    # A connection refused after the door has closed is no failed request; anything else would be one.
    failed = {outcome for outcome in load.outcomes if outcome != "200" and "Connection refused" not in outcome}
    assert not failed, load.outcomes


def test_two_bridges_do_not_share_a_data_folder(cluster_url: str, start_bridge: StartBridge, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    start_bridge(cluster_url, data_dir=folder)
    second = start_bridge(cluster_url, data_dir=folder, ready=False)
    assert second.process.wait(30) != 0
    assert "another bridge uses the data folder" in second.log_text()


def test_no_secret_is_ever_shown(cluster_url: str, start_bridge: StartBridge) -> None:
    secret = "canary-5f1c0d"
    bridge = start_bridge(
        cluster_url, "--user", "someone", "--log-level", "DEBUG", environment={"BRIDGE_PASSWORD": secret}
    )
    shown = [bridge.log_text(), str(bridge.health())]
    shown += [" ".join(child.cmdline()) for child in psutil.Process(bridge.process.pid).children(recursive=True)]
    with urllib.request.urlopen(f"{bridge.url}/_bridge/metrics", timeout=10) as answer:
        shown.append(answer.read().decode())
    assert not any(secret in text for text in shown)
    inference = psutil.Process(pid_of(bridge, INFERENCE))
    assert secret not in str(inference.environ())
