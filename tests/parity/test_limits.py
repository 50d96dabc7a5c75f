"""Limits, controllers, statistics and profile: the same steps to the bridge and to the real ML Commons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeService, private_endpoints
from file_server import FileServer
from scenario import DELETED, ML, Side, Step, ended, play
from server_fixtures import Cluster
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.parity, pytest.mark.integration, pytest.mark.timeout(300)]

TWICE = {"limit": "2", "unit": "DAYS"}
CONTROLLER = f"{ML}/controllers/<model>"
LIMITS = {"user_rate_limiter": {"u1": {"limit": "4", "unit": "MINUTES"}, "u2": {"limit": 5}, "u3": {}}}

PASSED = {"inference_results.0.output.0.name": ("sentence_embedding",)}


@pytest.fixture
def deployed(tmp_path: Path, model_server: FileServer) -> list[Step]:
    """A tiny real model, registered with a limit of two calls a day, and deployed."""
    content = tiny_zip(tmp_path / "tiny")
    body = tiny_body(model_server.serve_bytes("tiny.zip", content), content, name="<unique>")
    return [
        Step(
            "register", "POST", f"{ML}/models/_register", {**body, "rate_limiter": TWICE}, capture={"task": "task_id"}
        ),
        ended("registered", capture={"model": "model_id"}),
        Step("deploy", "POST", f"{ML}/models/<model>/_deploy", capture={"task": "task_id"}),
        ended("deployed", capture={"node": "worker_node.0"}),
        Step("running", "GET", f"{ML}/models/<model>", until={"model_state": ("DEPLOYED",)}),
    ]


def predict(name: str, text: str = "hello") -> Step:
    return Step(name, "POST", f"{ML}/models/<model>/_predict", {"text_docs": [text]})


def limited(name: str, limiter: Any) -> Step:
    return Step(name, "PUT", f"{ML}/models/<model>", {"rate_limiter": limiter})


def removed() -> list[Step]:
    return [
        Step("undeploy", "POST", f"{ML}/models/<model>/_undeploy"),
        Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
    ]


async def test_rates_of_models(sides: tuple[Side, Side], deployed: list[Step]) -> None:
    await play(
        [
            *deployed,
            *(predict(f"call {number}") for number in range(3)),
            limited("an hour's limit", {"limit": 1, "unit": "HOURS"}),
            # The reference takes a moment to tell its nodes.
            replace(predict("the first of a new limit"), until=PASSED),
            predict("the second"),
            limited("a wrong unit", {"limit": 1, "unit": "hours"}),
            limited("a wrong limit", {"limit": "abc", "unit": "HOURS"}),
            limited("less than none", {"limit": -1, "unit": "HOURS"}),
            limited("a wide limit", {"limit": 100_000, "unit": "SECONDS"}),
            replace(predict("wide"), until=PASSED),
            *(predict(f"wide {number}") for number in range(3)),
            *removed(),
        ],
        *sides,
    )


async def test_controllers(sides: tuple[Side, Side], deployed: list[Step]) -> None:
    lenient = "500 in the reference for a client's mistake"
    bad_unit = {"user_rate_limiter": {"u": {"limit": "4", "unit": "X"}}}
    await play(
        [
            *deployed,
            Step("no body", "POST", CONTROLLER),
            Step("unknown model", "POST", f"{ML}/controllers/nope", LIMITS),
            Step("bad unit", "POST", CONTROLLER, bad_unit),
            Step("bad limit", "POST", CONTROLLER, {"user_rate_limiter": {"u": {"limit": "x", "unit": "DAYS"}}}),
            Step("not an object", "POST", CONTROLLER, {"user_rate_limiter": []}, differs=lenient, status=400),
            Step("absent", "GET", CONTROLLER, skip=("reason",)),
            Step("absent to change", "PUT", CONTROLLER, LIMITS),
            Step("an empty one", "POST", CONTROLLER, {}),
            Step("shown empty", "GET", CONTROLLER),
            Step("replaced", "POST", CONTROLLER, LIMITS),
            Step("shown", "GET", CONTROLLER),
            Step("the model's flag", "GET", f"{ML}/models/<model>", until={"is_controller_enabled": (True,)}),
            Step("merged", "PUT", CONTROLLER, {"user_rate_limiter": {"u1": {"limit": "8"}, "u4": TWICE}}),
            Step("shown merged", "GET", CONTROLLER),
            Step("bad change", "PUT", CONTROLLER, bad_unit),
            Step("no change", "PUT", CONTROLLER, {}),
            Step("no body to change", "PUT", CONTROLLER),
            Step("deleted", "DELETE", CONTROLLER),
            Step("absent to delete", "DELETE", CONTROLLER),
            Step("gone", "GET", CONTROLLER),
            Step("the flag is off", "GET", f"{ML}/models/<model>", until={"is_controller_enabled": (False,)}),
            Step("unknown model to read", "GET", f"{ML}/controllers/nope"),
            Step("unknown model to delete", "DELETE", f"{ML}/controllers/nope"),
            *removed(),
        ],
        *sides,
    )


async def test_statistics(sides: tuple[Side, Side], deployed: list[Step]) -> None:
    mine = {"target_stat_levels": ["MODEL"], "models": ["<model>"]}
    acted = {**mine, "actions": ["PREDICT"], "target_stat_levels": ["action"]}
    await play(
        [
            *deployed,
            predict("one"),
            Step("of the model", "GET", f"{ML}/stats", mine, unordered=True),
            Step("one action", "GET", f"{ML}/stats", {**acted, "algorithms": ["AD_LIBSVM"]}, unordered=True),
            Step("an unknown stat", "GET", f"{ML}/stats/foo"),
            Step("another unknown stat", "GET", f"{ML}/stats/ml_model_count,foo"),
            Step("counts only", "GET", f"{ML}/stats/ml_model_count", skip=("ml_model_count", "ml_connector_count")),
            Step("an unknown node", "GET", f"{ML}/nope/stats/ml_request_count"),
            *(
                Step(f"wrong {field}", "GET", f"{ML}/stats", {field: ["x"]})
                for field in ("target_stat_levels", "cluster_level_stats", "node_level_stats", "algorithms", "actions")
            ),
            Step("a text for a list", "GET", f"{ML}/stats", {"target_stat_levels": "cluster"}),
            Step("null for a list", "GET", f"{ML}/stats", {"node_ids": None}),
            Step("an array", "GET", f"{ML}/stats", []),
            Step("a wrong method", "POST", f"{ML}/stats", {}),
            Step("too deep", "GET", f"{ML}/a/b/stats"),
            *removed(),
        ],
        *sides,
    )


TIMES = ("max", "min", "average", "p50", "p90", "p99")
FIGURES = (*TIMES, "predictor", "memory_size_estimation_cpu", "memory_size_estimation_gpu")


async def test_profile(sides: tuple[Side, Side], deployed: list[Step]) -> None:
    def shown(name: str, path: str, body: Any = None, **options: Any) -> Step:
        return Step(name, "GET", f"{ML}/profile{path}", body, skip=FIGURES, **options)

    await play(
        [
            *deployed,
            predict("one"),
            predict("two"),
            shown("of the model", "/models/<model>"),
            shown("by model", "/models/<model>?view=model"),
            shown("no such view", "/models/<model>?view=x"),
            shown("unknown model", "/models/nope"),
            shown("unknown task", "/tasks/nope"),
            shown("chosen by a body", "", {"model_ids": ["<model>"], "node_ids": ["<node>", "nope"]}),
            shown("an unknown node", "", {"model_ids": ["<model>"], "node_ids": ["nope"]}),
            shown("nothing asked for", "", {}),
            shown("a text for a list", "", {"node_ids": "a"}),
            shown("a wrong switch", "", {"return_all_models": "x"}),
            shown("an array", "", []),
            Step("a wrong method", "POST", f"{ML}/profile", {}),
            Step("no such profile", "GET", f"{ML}/profile/x"),
            *removed(),
            shown("undeployed", "/models/<model>"),
        ],
        *sides,
    )


async def _keys(side: Side, path: str) -> dict[str, Any]:
    async with side.session.get(f"{side.url}{ML}{path}") as answer:
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


async def test_the_whole_of_the_statistics_has_the_same_shape(sides: tuple[Side, Side]) -> None:
    mine, real = [await _keys(side, "/stats") for side in sides]
    assert sorted(mine) == sorted(real)
    ours, theirs = (next(iter(told["nodes"].values())) for told in (mine, real))
    assert sorted(ours) == sorted(theirs)
    for name, value in theirs.items():
        assert type(ours[name]) is type(value), name
    trailing = await _keys(sides[0], "/stats/")
    assert sorted(trailing) == sorted(mine)


PROMPT = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": "object",
            "properties": {"prompt": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["prompt"],
        }
    },
    "required": ["parameters"],
}
ANSWER = {"inference_results": {"type": "array", "items": {"required": ["output", "zzz"]}}}


async def test_interfaces(sides: tuple[Side, Side], fake_service: FakeService, reference: Cluster) -> None:
    fake_service.answer({"response": "yes"})
    connector = fake_service.connector('{"prompt":"${parameters.prompt}"}')
    model = {"name": "<unique>", "function_name": "remote", "connector": connector, "interface": {"input": PROMPT}}

    def ask(name: str, parameters: Any) -> Step:
        return Step(name, "POST", f"{ML}/models/<model>/_predict", {"parameters": parameters})

    with private_endpoints(sides[0].url), private_endpoints(reference.url):
        await play(
            [
                Step("register", "POST", f"{ML}/models/_register?deploy=true", model, capture={"model": "model_id"}),
                Step(
                    "deployed",
                    "GET",
                    f"{ML}/models/<model>",
                    until={"model_state": ("DEPLOYED",)},
                    capture={"node": "planning_worker_nodes.0"},
                ),
                ask("fits", {"prompt": "ok", "n": "3"}),
                ask("lacks the prompt", {"foo": 1}),
                ask("a text for a number", {"prompt": "ok", "n": "many"}),
                ask("a number for a text", {"prompt": 5, "n": 1}),
                ask("nothing", {}),
                Step("of outputs", "PUT", f"{ML}/models/<model>", {"interface": {"output": {"properties": ANSWER}}}),
                replace(ask("an output that does not fit", {"prompt": "ok"}), until={"status": (400,)}),
                *removed(),
            ],
            *sides,
        )
