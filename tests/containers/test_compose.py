"""docker-compose.yml as users start it: everything up, the main job through the composed proxy, everything down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import build_images
import container_cluster
import main_job
import pytest
from file_server import FileServer
from local_node import free_port
from server_fixtures import Cluster, missing

pytestmark = pytest.mark.containers
ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = "bridge-compose-test"


def compose_command() -> list[str]:
    """`docker compose` where the client has it, else the older docker-compose."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return (
        ["docker-compose"] if shutil.which("docker-compose") else missing("neither docker compose nor docker-compose")
    )


class Stack:
    """One composed stack with a project name and ports of its own."""

    def __init__(self, port: int) -> None:
        self._command = [*compose_command(), "-f", str(ROOT / "docker-compose.yml"), "-p", PROJECT]
        self._environment = {**os.environ, "BRIDGE_PORT": str(port), "BRIDGE_GPU_PORT": str(free_port())}
        self.bridge = Cluster(f"http://localhost:{port}")

    def run(self, *arguments: str, seconds: float = 300) -> str:
        """Raises AssertionError with what compose said when it fails."""
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self._environment,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def health(self, service: str) -> str:
        container = self.run("ps", "-q", service).strip()
        command = ["docker", "inspect", "--format", "{{.State.Health.Status}}", container]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if not container_cluster.engine_answers():
        missing("no Docker engine answers")
    if not container_cluster.image_exists(build_images.OPENSEARCH_IMAGE):
        container_cluster.build_opensearch(build_images.OPENSEARCH_IMAGE)
    build_images.build_bridge()
    made = Stack(free_port())
    try:
        made.run("up", "-d", "--no-build")
        yield made
    finally:
        made.run("down", "--volumes", "--timeout", "40")


def test_compose_file_is_read_with_and_without_the_gpu_profile() -> None:
    if not container_cluster.engine_answers():
        missing("no Docker engine answers")
    stack = Stack(free_port())
    assert "opensearch" in stack.run("config", "--services")
    everything = stack.run("--profile", "gpu", "config")
    assert "bridge-gpu" in everything
    assert "nvidia" in everything


@pytest.mark.slow
def test_main_job_through_the_composed_proxy(stack: Stack, minilm_onnx_zip: Path) -> None:
    container_cluster.wait_for_bridge(stack.bridge.url)
    with FileServer("0.0.0.0") as files:
        host = container_cluster.gateway(f"{PROJECT}_default")
        model = main_job.register_minilm(stack.bridge, minilm_onnx_zip, files, host)
    main_job.deploy(stack.bridge, model)
    vector = main_job.predict(stack.bridge, model, "today is sunny")
    assert len(vector) == 384
    main_job.index_texts(stack.bridge, model, "texts")
    for question, answer in main_job.QUESTIONS.items():
        assert main_job.search(stack.bridge, model, "texts", question)[0] == answer
    status, told = stack.bridge.request("GET", "/_cat/plugins?format=json")
    assert status == 200
    assert {row["component"] for row in told} == {"opensearch-knn"}, json.dumps(told)
    assert stack.health("opensearch") == "healthy"


@pytest.mark.slow
def test_composed_bridge_becomes_healthy_and_survives_a_restart(stack: Stack) -> None:
    container_cluster.wait_for_bridge(stack.bridge.url)
    stack.run("restart", "--timeout", "40", "bridge")
    container_cluster.wait_for_bridge(stack.bridge.url)
    assert stack.bridge.request("GET", "/_cluster/health")[0] == 200
    container_cluster.wait_until(lambda: stack.health("bridge") == "healthy", 60, "the bridge's health check")
