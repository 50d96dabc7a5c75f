"""Statistics, profile and metrics of two whole bridges with real inference processes."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bridge_fixtures import StartBridge
from file_server import FileServer
from main_job import await_task
from server_fixtures import Cluster
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ML = "/_plugins/_ml"


def _until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _page(url: str) -> str:
    with urllib.request.urlopen(f"{url}/_bridge/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_two_bridges_tell_the_same_and_metrics_follow_deploying(
    cluster: Cluster, start_bridge: StartBridge, model_server: FileServer, tmp_path: Path
) -> None:
    one, two = (Cluster(start_bridge(cluster.url, "--node-name", name).url) for name in ("one", "two"))
    content = tiny_zip(tmp_path / "tiny")
    body = tiny_body(model_server.serve_bytes("tiny.zip", content), content)
    model = await_task(one, one.request("POST", f"{ML}/models/_register", body)[1]["task_id"])["model_id"]
    task = await_task(one, one.request("POST", f"{ML}/models/{model}/_deploy")[1]["task_id"])
    assert len(task["worker_node"]) == 2
    for _ in range(4):
        assert two.request("POST", f"{ML}/models/{model}/_predict", {"text_docs": ["a"]})[0] == 200
    two.request("POST", f"{ML}/models/made-up/_predict", {"text_docs": ["a"]})

    for bridge in (one, two):
        told = bridge.request("GET", f"{ML}/stats")[1]
        assert (told["ml_model_count"], told["ml_model_index_status"]) == (1, told["ml_task_index_status"])
        assert sorted(told["nodes"]) == sorted(task["worker_node"])
        assert [node["ml_deployed_model_count"] for node in told["nodes"].values()] == [1, 1]
        counted = [node["models"][model].get("predict") for node in told["nodes"].values()]
        assert {"ml_action_request_count": 4} in counted
        named = bridge.request("GET", f"{ML}/two/stats/ml_request_count")[1]["nodes"]
        assert [node["models"][model]["predict"]["ml_action_request_count"] for node in named.values()] == [4]
        profile = bridge.request("GET", f"{ML}/profile/models/{model}?view=model")[1]["models"][model]
        counts = [node.get("predict_request_stats", {}).get("count") for node in profile["nodes"].values()]
        assert sorted(counts, key=str) == [4, None]

    page = _page(two.url)
    assert f'bridge_model_predict_quantile_seconds{{model_id="{model}",quantile="0.99"}}' in page
    assert f'bridge_model_infer_seconds_count{{model_id="{model}"}}' in page
    assert "made-up" not in page
    assert one.request("POST", f"{ML}/models/{model}/_undeploy")[0] == 200
    _until(lambda: model not in _page(two.url) and model not in _page(one.url))
