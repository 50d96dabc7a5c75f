"""OpenSearch in a container, by testcontainers, where a Docker engine answers."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_folder import cache_folder
from cluster_variants import VARIANTS
from maven_artifacts import Unavailable
from opensearch_home import prepare

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network

IMAGE = os.environ.get("OPENSEARCH_IMAGE", "opensearch-ml-bridge/opensearch:3.6.0")
OFFICIAL_IMAGE = "opensearchproject/opensearch:3.6.0"
HERE = Path(__file__).parent
START_SECONDS = 180.0


@cache
def engine_answers() -> bool:
    """True when a Docker engine can be used: a client is installed and `docker info` reaches a server."""
    if shutil.which("docker") is None:
        return False
    done = subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@contextmanager
def opensearch(image: str = IMAGE, *, network: Any = None, alias: str = "") -> Iterator[str]:
    """A running OpenSearch (with k-NN, without ML Commons); gives its URL as seen from this machine.

    Raises Unavailable when there is no image and none can be built, or when it gives no answer.
    """
    if not image_exists(image):
        build_opensearch(image)
    container = _opensearch_container(image)
    if network is not None:
        container.with_network(network).with_network_aliases(alias)
    try:
        container.start()
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(9200)}"
        wait_until_healthy(url, container)
        yield url
    finally:
        container.stop()


def _opensearch_container(image: str) -> DockerContainer:
    docker_container = _testcontainers()
    return (
        docker_container(image)
        .with_exposed_ports(9200)
        .with_env("OPENSEARCH_JAVA_OPTS", "-Xms512m -Xmx512m")
        .with_env("discovery.type", "single-node")
        # Read by the official image, which insists on a password otherwise; ours has no security plugin.
        .with_env("DISABLE_SECURITY_PLUGIN", "true")
        .with_env("DISABLE_INSTALL_DEMO_CONFIG", "true")
    )


@contextmanager
def plain_opensearch(image: str) -> Iterator[str]:
    """The same by the docker client alone, for the demo, which has no testcontainers. Pulls what is not there."""
    options = ["--env", "discovery.type=single-node", "--env", "OPENSEARCH_JAVA_OPTS=-Xms512m -Xmx512m"]
    options += ["--env", "DISABLE_SECURITY_PLUGIN=true", "--env", "DISABLE_INSTALL_DEMO_CONFIG=true"]
    started = _docker("run", "--detach", "--rm", "--publish", "127.0.0.1::9200", *options, image)
    try:
        url = "http://" + _docker("port", started, "9200").splitlines()[0]
        wait_until(
            lambda: _answers(f"{url}/_cluster/health?wait_for_status=yellow"), START_SECONDS, f"OpenSearch in {image}"
        )
        yield url
    finally:
        _docker("stop", "--time", "20", started)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise Unavailable(f"docker {arguments[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def _testcontainers() -> type[DockerContainer]:
    """testcontainers' container class, with the two settings that a machine without a registry needs.

    Its clean-up container is an image that may not be pullable (`opensearch` stops what it started itself), and inside
    a container or a small VM it would guess the engine's address wrongly.
    """
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    from testcontainers.core.container import DockerContainer

    return DockerContainer


def wait_until_healthy(url: str, container: DockerContainer) -> None:
    """Return when the cluster is at least yellow. Raises Unavailable with the container's last words."""
    _await_container(container, f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s")


def wait_for_bridge(url: str, seconds: float = START_SECONDS) -> None:
    """Return when the bridge reports ready. Raises Unavailable."""
    wait_until(lambda: _answers(f"{url}/_bridge/health"), seconds, f"the bridge at {url}")


def wait_until(probe: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when the probe holds. Raises Unavailable, naming `what`, after that many seconds."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not in {seconds:.0f} s")
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as told:
            return told.status == 200
    except urllib.error.HTTPError as refused:
        refused.close()
        return False
    except (OSError, http.client.HTTPException):
        return False


def _await_container(container: DockerContainer, url: str) -> None:
    try:
        wait_until(lambda: _answers(url), START_SECONDS, "the container's answer")
    except Unavailable as late:
        last = b"".join(container.get_logs()).decode(errors="replace").splitlines()[-15:]
        raise Unavailable("\n".join([str(late), *last])) from None


@contextmanager
def bridge(image: str, joined: Network, cluster: str) -> Iterator[str]:
    """A bridge in a container on that network, before the cluster as seen from there; gives its URL from here."""
    container = _testcontainers()(image).with_exposed_ports(9700).with_env("BRIDGE_CLUSTER", cluster)
    container.with_network(joined)
    try:
        container.start()
        url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(9700)}"
        _await_container(container, f"{url}/_bridge/health")
        yield url
    finally:
        container.stop()


@contextmanager
def network() -> Iterator[Network]:
    """A network of its own, on which containers find each other by alias."""
    _testcontainers()
    from testcontainers.core.network import Network

    with Network() as made:
        yield made


def gateway(name: str) -> str:
    """This machine's address as seen from containers on that network."""
    command = ["docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", name]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return told.stdout.strip()


def image_exists(image: str) -> bool:
    command = ["docker", "image", "inspect", image]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def build_opensearch(image: str = IMAGE) -> None:
    """Build the image out of the published artifacts. Raises Unavailable when a part cannot be had."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as made:
        context = Path(made) / "context"
        make_context(context, "knn")
        build(image, context)


def build(image: str, context: Path, *options: str) -> None:
    """docker build, with BuildKit. Raises Unavailable with the end of its output."""
    command = [_buildkit_client(), "build", "--network", "host", "--tag", image, *options, str(context)]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Unavailable(f"docker could not build {image}:\n{tail}")


@cache
def _buildkit_client() -> str:
    """A docker client that can use BuildKit; from version 23 on it needs the buildx plugin for that."""
    asked = ["version", "--format", "{{.Client.Version}}"]
    for client in dict.fromkeys((shutil.which("docker") or "docker", "/usr/bin/docker")):
        told = subprocess.run([client, *asked], capture_output=True, text=True, timeout=30, check=False)
        plugin = subprocess.run([client, "buildx", "version"], capture_output=True, timeout=30, check=False)
        major = told.stdout.partition(".")[0].strip()
        if plugin.returncode == 0 or (major.isdigit() and int(major) < 23):
            return client
    raise Unavailable("this docker client cannot use BuildKit; install its buildx plugin")


def make_context(folder: Path, variant: str) -> None:
    """Lay out what opensearch.Dockerfile copies: the prepared home and a JDK. Raises Unavailable."""
    home = prepare(VARIANTS[variant])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home.folder, folder / "opensearch", symlinks=True)
    # Links are followed: Debian's JDKs link into /etc, which the image does not have.
    left_out = shutil.ignore_patterns("src.zip", "jmods", "demo", "man")
    shutil.copytree(home.java, folder / "jdk", ignore=left_out, ignore_dangling_symlinks=True)
    shutil.copy(HERE / "opensearch.Dockerfile", folder / "Dockerfile")
