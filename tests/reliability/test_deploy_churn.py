"""Models that come and go two hundred times through a whole bridge leave nothing behind in any of its processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from bridge_fixtures import BridgeProcess, StartBridge
from file_server import FileServer
from ml_client import MLClient
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(300)]

WARM_UP = 25
ROUNDS = 175
MIB = 1 << 20


def resident(bridge: BridgeProcess) -> dict[str, int]:
    """Bytes of the application's and of the inference process's memory."""
    found: dict[str, int] = {}
    for child in psutil.Process(bridge.process.pid).children(recursive=True):
        words = " ".join(child.cmdline())
        for name in ("app_child", "engines.process"):
            if name in words:
                found[name] = child.memory_info().rss
    assert len(found) == 2, found
    return found


@pytest.mark.slow
def test_rounds_of_deploying_and_undeploying(
    cluster_url: str, start_bridge: StartBridge, tmp_path: Path, model_server: FileServer
) -> None:
    content = tiny_zip(tmp_path / "tiny")
    bridge = start_bridge(cluster_url, "--threads", "1", "--log-level", "WARNING")
    client = MLClient(bridge.url)
    model = client.register(tiny_body(model_server.serve_bytes("tiny.zip", content), content))
    seen: dict[str, list[tuple[int, int]]] = {"app_child": [], "engines.process": []}
    for number in range(WARM_UP + ROUNDS):
        client.deployed(model)
        assert client.predict(model) == 200
        told = client.insist("POST", f"/models/{model}/_undeploy")
        assert [stats["stats"][model] for stats in told.values()] == ["undeployed"]
        if number >= WARM_UP:
            for name, size in resident(bridge).items():
                seen[name].append((number, size))
    growth = {name: 100 * np.polyfit(*np.array(points, float).T, 1)[0] / MIB for name, points in seen.items()}
    assert max(growth.values()) <= 1.0, f"MiB in 100 rounds: {growth}"
