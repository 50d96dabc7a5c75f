"""An upload from the command line while bridges die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bridge_fixtures import StartBridge
from real_models import MINILM
from server_fixtures import Cluster

pytestmark = [pytest.mark.reliability, pytest.mark.integration]
CONFIG = {
    "model_type": "bert",
    "embedding_dimension": MINILM.dimension,
    "framework_type": "sentence_transformers",
}


def uploading(url: str, archive: Path) -> subprocess.Popen[str]:
    words = ["model", "register", str(archive), "--name", "kept", "--config", json.dumps(CONFIG), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "bridge", *words, "--bridge", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BRIDGE_USER": "", "BRIDGE_PASSWORD": ""},
    )  # fmt: skip


def chunks(bridge: Cluster) -> int:
    body = {"size": 100, "query": {"exists": {"field": "chunk_number"}}, "_source": False}
    status, found = bridge.request("POST", "/_plugins/_ml/models/_search", body)
    return len(found["hits"]["hits"]) if status == 200 else 0


def test_an_upload_outlives_the_bridge(cluster: Cluster, start_bridge: StartBridge, minilm_onnx_zip: Path) -> None:
    """The bridge is killed while chunks come and another stands in its place: the same command ends well."""
    first = start_bridge(cluster.url)
    here = Cluster(first.url)
    command = uploading(first.url, minilm_onnx_zip)
    try:
        deadline = time.monotonic() + 60
        while chunks(here) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        first.kill()
        start_bridge(cluster.url, port=first.port)
        out, err = command.communicate(timeout=100)
        if command.returncode == 3:
            # The new one took longer to start than the command had patience; said again, it goes on.
            command = uploading(first.url, minilm_onnx_zip)
            out, err = command.communicate(timeout=60)
    finally:
        command.kill()
        command.wait()
    assert command.returncode == 0, err
    made = json.loads(out)
    assert made["model_state"] == "REGISTERED"
    assert made["model_content_size_in_bytes"] == minilm_onnx_zip.stat().st_size
    status, found = here.request("POST", "/_plugins/_ml/models/_search", {})
    assert (status, [hit["_id"] for hit in found["hits"]["hits"]]) == (200, [made["model_id"]])
    assert chunks(here) == made["total_chunks"]
