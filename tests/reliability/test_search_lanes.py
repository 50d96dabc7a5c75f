"""Searches beside a pipeline of ours: the plain ones need neither the application nor a model."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from typing import Any

import psutil
import pytest
from bridge_fixtures import BridgeProcess, StartBridge
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.reliability]

MISSING = {"ml_inference": {"model_id": "no-such-model", "input_map": [{"a": "t"}], "output_map": [{"b": "c"}]}}


def call(url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def application(bridge: BridgeProcess) -> psutil.Process:
    children = psutil.Process(bridge.process.pid).children(recursive=True)
    (found,) = [child for child in children if "app_child" in " ".join(child.cmdline())]
    return found


def test_plain_searches_go_on_beside_a_pipeline_whose_model_and_application_are_gone(
    cluster: Cluster, start_bridge: StartBridge, user_index: str
) -> None:
    first, second = (start_bridge(cluster.url, "--roles", "proxy") for _ in range(2))
    pipeline, plain, ours = user_index, f"{user_index}-plain", f"{user_index}-ours"
    settings: dict[str, Any] = {"number_of_shards": 1, "number_of_replicas": 0}
    assert call(first.url, "PUT", f"/{plain}", {"settings": settings})[0] == 200
    settings["index.search.default_pipeline"] = pipeline
    assert call(first.url, "PUT", f"/{ours}", {"settings": settings})[0] == 200
    for index in (plain, ours):
        assert call(first.url, "PUT", f"/{index}/_doc/1?refresh=true", {"t": "a"})[0] == 201
    definition = {"response_processors": [MISSING]}
    assert call(first.url, "PUT", f"/_search/pipeline/{pipeline}", definition)[0] == 200
    try:
        _search_both(first, second, plain, ours)
    finally:
        call(first.url, "DELETE", f"/_search/pipeline/{pipeline}")


def _search_both(first: BridgeProcess, second: BridgeProcess, plain: str, ours: str) -> None:
    deadline = time.monotonic() + 5
    for bridge in (first, second):
        status, answer = call(bridge.url, "POST", f"/{ours}/_search", {})
        while bridge is second and status == 200 and time.monotonic() < deadline:
            status, answer = call(bridge.url, "POST", f"/{ours}/_search", {})
        assert (status, "Failed to find model" in json.dumps(answer)) == (404, True), answer
        for body in ({}, {"query": {"match": {"t": "a"}}}):
            status, answer = call(bridge.url, "POST", f"/{plain}/_search", body)
            assert (status, answer["hits"]["total"]["value"]) == (200, 1)
    frozen = application(first)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        # Its verdict about the plain index is a moment old: nobody has to be asked.
        assert call(first.url, "POST", f"/{plain}/_search", {"query": {"match": {"t": "a"}}})[0] == 200
        assert call(first.url, "GET", f"/{ours}/_search?search_pipeline=_none")[0] == 200
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert call(first.url, "POST", f"/{ours}/_search", {})[0] == 404
