"""Statistics and profile: each node counts for itself, any bridge tells for all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_bridge import ModelBridge
from model_pair import Pair, until

from bridge import metrics
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.names import FunctionName
from bridge.domain.node import Node
from bridge.models.node_reports import chosen
from bridge.models.profile import by_model
from bridge.models.statistics import PREDICT, Statistics, Window, quantile


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_window_as_ml_commons_prints_it() -> None:
    window = Window()
    assert window.summary() is None
    for milliseconds in (4.0, 1.0, 2.0, 3.0):
        window.add(milliseconds, 3)
    told = window.summary()
    assert told is not None
    assert list(told) == ["count", "max", "min", "average", "p50", "p90", "p99"]
    assert (told["count"], told["max"], told["min"], told["average"], told["p50"]) == (3, 3.0, 1.0, 2.0, 2.0)
    window.add(9.0, 0)
    assert window.summary() is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_lie_between_neighbours(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, part)
    assert ordered[0] <= found <= ordered[-1]
    below = sum(value < found for value in ordered)
    assert below <= part * (len(ordered) - 1) + 1


def test_counters_windows_and_failures() -> None:
    clock, settings = Clock(), FixedSettings(ClusterSettings(monitoring_request_count=2))
    statistics = Statistics(settings, clock=clock)
    with statistics.requested("m"):
        clock.now += 1
    assert statistics.models() == {}
    statistics.known("m", FunctionName.TEXT_EMBEDDING)
    for seconds in (0.1, 0.2, 0.3):
        with statistics.requested("m"), statistics.inferring("m"):
            assert statistics.executing == 1
            clock.now += seconds
    with pytest.raises(ValueError, match="broken"), statistics.requested("m"), statistics.inferring("m"):
        raise ValueError("broken")
    times = statistics.times("m")
    assert times["model_inference_stats"]["count"] == 2
    assert times["model_inference_stats"]["max"] == pytest.approx(300)
    assert times["predict_request_stats"]["min"] == pytest.approx(0)
    counted = {"ml_action_request_count": 4, "ml_action_failure_count": 1}
    assert statistics.report() == {
        "executing": 0,
        "requests": 4,
        "failures": 1,
        "breaks": 0,
        "algorithms": {"text_embedding": {PREDICT: counted}},
        "models": {"m": {PREDICT: counted}},
    }
    statistics.forget("m")
    assert statistics.times("m") == {}


def test_nodes_are_meant_by_id_name_and_wildcard() -> None:
    nodes = {"b2": Node(name="two"), "a1": Node(name="one")}
    assert list(chosen(nodes, (), "a1")) == ["a1", "b2"]
    assert list(chosen(nodes, ("_all",), "a1")) == ["a1", "b2"]
    assert list(chosen(nodes, ("_local",), "b2")) == ["b2"]
    assert list(chosen(nodes, ("t*", "nope"), "a1")) == ["b2"]
    assert list(chosen(nodes, ("nope",), "a1")) == []


async def _told(bridge: ModelBridge, path: str, body: Any = None) -> Any:
    answer = await bridge.call("GET", path, body)
    assert answer.status == 200, answer.body
    return answer.body


async def test_any_bridge_tells_for_all(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    for _ in range(3):
        assert (await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["a"]})).status == 200
    told = await _told(two, "/stats", {"target_stat_levels": ["NODE", "ALGORITHM", "MODEL"]})
    first, second = told["nodes"][one.node_id], told["nodes"][two.node_id]
    assert (first["ml_deployed_model_count"], second["ml_deployed_model_count"]) == (1, 1)
    assert first["models"][model_id]["predict"] == {"ml_action_request_count": 3}
    assert first["models"][model_id]["deploy"] == second["models"][model_id]["deploy"] == {"ml_action_request_count": 1}
    registered = [node["algorithms"]["text_embedding"].get("register") for node in (first, second)]
    assert {"ml_action_request_count": 1} in registered
    assert (first["ml_failure_count"], first["ml_executing_task_count"]) == (0, 0)

    profile = (await _told(two, f"/profile/models/{model_id}"))["nodes"]
    of_model = profile[one.node_id]["models"][model_id]
    assert list(of_model) == [
        "model_state",
        "predictor",
        "target_worker_nodes",
        "worker_nodes",
        "model_inference_stats",
        "predict_request_stats",
        "memory_size_estimation_cpu",
        "memory_size_estimation_gpu",
    ]
    assert of_model["predict_request_stats"]["count"] == of_model["model_inference_stats"]["count"] == 3
    assert sorted(of_model["worker_nodes"]) == sorted(of_model["target_worker_nodes"])
    assert "model_inference_stats" not in profile[two.node_id]["models"][model_id]
    per_model = (await _told(one, "/profile?view=model"))["models"][model_id]
    assert list(per_model) == ["target_worker_nodes", "worker_nodes", "nodes"]
    assert sorted(per_model["nodes"]) == sorted([one.node_id, two.node_id])


async def test_stats_are_chosen_by_path_and_body(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    told = await _told(one, f"/{two.node_id}/stats/ml_request_count,ml_failure_count")
    assert told == {
        "nodes": {two.node_id: {"ml_request_count": 0, "ml_failure_count": 0, "algorithms": {}, "models": {}}}
    }
    assert list((await _told(one, "/_local/stats/ml_request_count"))["nodes"]) == [one.node_id]
    assert await _told(one, "/stats", {"node_ids": ["nope"], "target_stat_levels": ["NODE"]}) == {}
    assert await _told(one, "/stats", {}) == {}
    assert await _told(one, "/profile") == {}
    assert await _told(one, "/profile", {"return_all_models": "true"}) == {}
    assert await _told(one, "/profile?view=other") == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"target_stat_levels": ["x"]}, "Wrong ML stat level"),
        ({"cluster_level_stats": ["x"]}, "Wrong ML cluster level stat"),
        ({"node_level_stats": ["x"]}, "Wrong ML node level stat"),
        ({"action_level_stats": ["x"]}, "Wrong ML action level stat"),
        ({"actions": ["x"]}, "Wrong action name"),
        ({"algorithms": ["x"]}, "Wrong function name"),
    ],
)
async def test_unknown_stats_are_refused(pair: Pair, body: Any, reason: str) -> None:
    one = await pair.start(0)
    answer = await one.call("GET", "/stats", body)
    assert (answer.status, answer.body["error"]["reason"]) == (400, reason)
    answer = await one.call("GET", "/stats/foo")
    assert (answer.status, answer.body["error"]["reason"]) == (400, "Wrong ML cluster level stat")


async def test_reports_are_for_nodes_only(pair: Pair) -> None:
    one = await pair.start(0)
    async with one.session.get(f"{one.url}/_bridge/internal/report") as answer:
        assert answer.status == 401


async def test_a_node_that_is_gone_is_left_out(pair: Pair) -> None:
    one = await pair.start(0)
    await pair.stores.nodes.put("ghost", Node(name="ghost", address="127.0.0.1:9", token="x", roles=("ml",)))
    told = await _told(one, "/stats/ml_request_count")
    assert list(told["nodes"]) == [one.node_id]


def test_tasks_stand_with_their_model() -> None:
    nodes = {"n": {"tasks": {"t": {"model_id": "m", "state": "RUNNING"}}}}
    assert by_model(nodes) == {"m": {"tasks": {"t": {"model_id": "m", "state": "RUNNING"}}}}


async def test_metrics_show_what_is_deployed_and_never_what_a_client_made_up(pair: Pair) -> None:
    one, two = await pair.start(0), await pair.start(1)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    for named in (model_id, "made-up"):
        await two.call("POST", f"/models/{named}/_predict", {"text_docs": ["a"]})
    figures = await two.runtime.figures.now()
    assert figures.shown == {model_id}
    assert list(figures.quantiles[model_id]) == [0.5, 0.9, 0.99]
    assert "made-up" not in metrics.render().decode()
    await one.call("POST", f"/models/{model_id}/_undeploy")

    async def gone() -> bool:
        return not (await two.runtime.figures.now()).shown

    await until(gone)
    assert model_id not in metrics.render(await two.runtime.figures.now()).decode()


async def test_models_that_a_caller_may_not_see_are_not_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    await one.deploy(model_id)
    shown = await _told(one, "/stats", {"target_stat_levels": ["MODEL"]})
    assert model_id in shown["nodes"][one.node_id]["models"]

    async def nothing(_: object) -> dict[str, Any]:
        return {"ids": {"values": []}}

    monkeypatch.setattr(one.runtime.access, "search_filter", nothing)
    monkeypatch.setattr(one.runtime.access, "task_filter", nothing)
    assert await _told(one, "/profile") == {}
    assert await _told(one, f"/profile/models/{model_id}?view=model") == {}
    assert model_id not in str(await _told(one, "/stats", {"target_stat_levels": ["MODEL", "NODE"]}))
