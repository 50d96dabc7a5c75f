"""The launcher: crashes and restarts keep the data, and no node outlives the run that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from local_node import LocalNode
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parent.parent.parent


def gone(pid: int, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_killed_node_comes_back_with_its_data_and_settings(private_node: Callable[..., LocalNode]) -> None:
    node = private_node(settings={"node.attr.rack": "r1"})
    cluster = Cluster(node.url)
    assert cluster.request("PUT", "/kept/_doc/1?refresh=true", {"a": 1})[0] == 201
    before = node.pid
    node.kill()
    assert gone(before)
    assert not node.running
    node.restart()
    assert node.pid != before
    assert cluster.request("GET", "/kept/_doc/1")[1]["_source"] == {"a": 1}
    nodes = cluster.request("GET", "/_nodes/settings?filter_path=nodes.*.settings.node.attr")[1]["nodes"]
    assert [told["settings"]["node"]["attr"]["rack"] for told in nodes.values()] == ["r1"]
    folder, last = node.folder, node.pid
    node.stop()
    assert gone(last)
    assert not folder.exists()


def test_a_node_dies_with_the_process_that_started_it() -> None:
    code = (
        "import sys; sys.path.insert(0, 'testcontainers'); from local_node import LocalNode; "
        "node = LocalNode('knn').start(); print(node.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, 0)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert gone(pid)


def test_secured_cluster_knows_admin_by_password_and_by_certificate(secured_cluster: Cluster) -> None:
    status, told = secured_cluster.request("GET", "/_plugins/_security/authinfo")
    assert status == 200
    assert told["user_name"] == "admin"
    assert Cluster(secured_cluster.url, ca_file=secured_cluster.ca_file).request("GET", "/")[0] == 401
    assert Path(secured_cluster.client_cert).is_file()
    assert Path(secured_cluster.client_key).is_file()
