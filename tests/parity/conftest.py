"""Fixtures for scenarios: one whole bridge before the plain cluster, shared by the session, beside the reference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import ledger
import pytest
import scenario
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


@pytest.fixture(scope="session", autouse=True)
def _ledger() -> Iterator[None]:
    """What scenarios show of routes must stand in the ledger (where CI is set); BRIDGE_WRITE_COVERAGE=1 writes it."""
    yield
    kept = ledger.read()
    # A loop of its own, so that the tests' loops stay as they are.
    loop = asyncio.new_event_loop()
    now = loop.run_until_complete(ledger.noted(kept, scenario.RECORDS))
    loop.close()
    if os.environ.get("BRIDGE_WRITE_COVERAGE"):
        ledger.write(now)
    elif os.environ.get("CI"):
        # A status that came once on a busy machine (429, say) makes no ledger wrong; a new route or difference does.
        old = {name: told["differs"] for name, told in kept.items()}
        new = {name: told["differs"] for name, told in now.items()}
        assert new == old, f"the coverage ledger is out of date: {ledger.HOW}"


@pytest.fixture(scope="session")
def settled_reference(reference: Cluster) -> Cluster:
    """The reference with its system indices made: before that, it has other words for what it does not find."""
    ml = "/_plugins/_ml"
    action = {"action_type": "predict", "method": "POST", "url": "https://api.openai.com/x", "request_body": "{}"}
    connector = {"name": "first", "version": 1, "protocol": "http", "credential": {"k": "v"}, "actions": [action]}
    made = reference.request("POST", f"{ml}/connectors/_create", connector)[1]["connector_id"]
    body = {"name": f"first {uuid4().hex}", "function_name": "remote", "connector_id": made}
    model = reference.request("POST", f"{ml}/models/_register", body)[1]["model_id"]
    group = reference.request("GET", f"{ml}/models/{model}")[1]["model_group_id"]
    reference.request("POST", f"{ml}/controllers/{model}", {})
    for path in (f"controllers/{model}", f"models/{model}", f"model_groups/{group}", f"connectors/{made}"):
        reference.request("DELETE", f"{ml}/{path}")
    return reference


@pytest.fixture
async def sides(parity_bridge: str, settled_reference: Cluster) -> AsyncIterator[tuple[Side, Side]]:
    """The bridge and the reference for `scenario.play`. `<unique>` is a name that no other test uses."""
    names = {"unique": f"t{uuid4().hex[:10]}"}
    async with aiohttp.ClientSession() as session:
        yield Side(parity_bridge, session, dict(names)), Side(settled_reference.url, session, dict(names))
