"""Fixtures for scenarios: one whole bridge before the plain cluster, shared by the session, beside the reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from bridge_fixtures import BridgeProcess
from scenario import Side
from server_fixtures import Cluster, Servers


@pytest.fixture(scope="session")
def parity_bridge(cluster: Cluster, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a ready bridge (proxy and ML node in one) with model files by `file://` and TorchScript allowed."""
    prefix = f".t-{uuid4().hex[:10]}-"
    folder: Path = tmp_path_factory.mktemp("parity-bridge")
    told = ["--cluster", cluster.url, "--index-prefix", prefix, "--data-dir", str(folder / "data")]
    told += ["--allow-file-urls", "--allow-torchscript"]
    process = BridgeProcess(told, folder / "log", {})
    try:
        process.wait_until_ready()
        yield process.url
        process.stop()
        assert "Traceback" not in process.log_text(), process.log_text()
    finally:
        process.kill()
        for known in set(servers.clusters.values()):
            known.drop_indices(prefix)


@pytest.fixture
async def sides(parity_bridge: str, reference: Cluster) -> AsyncIterator[tuple[Side, Side]]:
    """The bridge and the reference for `scenario.play`. `<unique>` is a name that no other test uses."""
    names = {"unique": f"t{uuid4().hex[:10]}"}
    async with aiohttp.ClientSession() as session:
        yield Side(parity_bridge, session, dict(names)), Side(reference.url, session, dict(names))
