"""The images by themselves: testcontainers starts them, the main job runs through them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import build_images
import container_cluster
import main_job
import pytest
from file_server import FileServer
from server_fixtures import Cluster, missing

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module", autouse=True)
def _images() -> None:
    if not container_cluster.engine_answers():
        missing("no Docker engine answers")
    if not container_cluster.image_exists(build_images.OPENSEARCH_IMAGE):
        container_cluster.build_opensearch(build_images.OPENSEARCH_IMAGE)
    build_images.build_bridge()


def inspect(image: str) -> dict[str, object]:
    command = ["docker", "image", "inspect", image]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found: dict[str, object] = json.loads(told)[0]
    return found


def test_bridge_image_is_small_not_root_and_says_how_it_feels() -> None:
    told = inspect(build_images.BRIDGE_IMAGE)
    config = told["Config"]
    assert isinstance(config, dict)
    assert config["User"] == "bridge"
    assert "/_bridge/health" in " ".join(config["Healthcheck"]["Test"])
    size = told["Size"]
    assert isinstance(size, int)
    assert size < 600_000_000, f"{size / 1e6:.0f} MB"


def test_bridge_image_runs_as_an_unprivileged_user() -> None:
    command = ["docker", "run", "--rm", "--entrypoint", "id", build_images.BRIDGE_IMAGE, "-u"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "10001", done.stderr


def test_opensearch_container_has_knn_and_no_ml_commons() -> None:
    with container_cluster.opensearch() as url:
        names = {row["component"] for row in Cluster(url).request("GET", "/_cat/plugins?format=json")[1]}
    assert names == {"opensearch-knn"}


@pytest.mark.slow
def test_main_job_with_a_bridge_in_a_container(minilm_onnx_zip: Path) -> None:
    with (
        container_cluster.network() as network,
        container_cluster.opensearch(network=network, alias="opensearch"),
        container_cluster.bridge(build_images.BRIDGE_IMAGE, network, "http://opensearch:9200") as url,
        # Offered to the container's network, not to loopback alone.
        FileServer("0.0.0.0") as files,
    ):
        bridge = Cluster(url)
        host = container_cluster.gateway(network.id)
        model = main_job.register_minilm(bridge, minilm_onnx_zip, files, host)
        main_job.deploy(bridge, model)
        main_job.index_texts(bridge, model, "texts")
        for question, answer in main_job.QUESTIONS.items():
            assert main_job.search(bridge, model, "texts", question)[0] == answer
