"""Searches around their pipelines, in the bridge and in the reference: when a default takes effect, which indices
count, where a body may stand, what the cluster refuses, and how long a model may take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from fake_service import FakeService, private_endpoints
from scenario import ML, Side, Step, play
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.parity]

BY_NUMBER = {"rerank": {"by_field": {"target_field": "num"}}}
"""A response processor that needs no model: the highest number comes first."""
MATCH = {"query": {"match": {"title": "red"}}}
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
EMPTY_PROFILE = ("profile", "index_uuid")
TITLES = ("red apple", "red pear of the old garden", "blue car", "red")
ASKED = {
    "ml_inference": {
        "model_id": "<slow>",
        "input_map": [{"input": "query.match.title.query"}],
        "output_map": [{"query.match.title.query": "echo.input"}],
    }
}
ANSWERED = {
    "ml_inference": {
        "model_id": "<slow>",
        "input_map": [{"input": "title"}],
        "output_map": [{"said": "echo.input"}],
        "one_to_one": True,
    }
}


@pytest.fixture(scope="module", autouse=True)
def _private(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    with private_endpoints(parity_bridge), private_endpoints(reference.url):
        yield


@pytest.fixture
async def lanes(sides: tuple[Side, Side]) -> AsyncIterator[tuple[Side, Side]]:
    """Pipeline `<unique>` and index `<unique>` that has it as its default."""
    await told(sides, Step("pipeline", "PUT", "/_search/pipeline/<unique>", {"response_processors": [BY_NUMBER]}))
    await told(sides, *index("<unique>", "<unique>"))
    yield sides
    for path in ("/<unique>*", "/_index_template/<unique>*", "/_search/pipeline/<unique>*"):
        for side in sides:
            await side.answer(Step("gone", "DELETE", path))


@pytest.fixture
async def slow(sides: tuple[Side, Side], fake_service: FakeService) -> AsyncIterator[tuple[Side, Side]]:
    """Model `<slow>`, whose service takes a second."""
    fake_service.answer({"echo": {"input": "red"}}, path="/slow", seconds=1.0)
    connector = fake_service.connector('{"input": "${parameters.input}"}', path="/slow")
    made = {"name": "<unique>", "function_name": "remote", "connector_id": "<slow_c>"}
    await told(
        sides,
        Step("connector", "POST", f"{ML}/connectors/_create", connector, capture={"slow_c": "connector_id"}),
        Step("model", "POST", f"{ML}/models/_register?deploy=true", made, capture={"slow": "model_id"}),
        Step("model", "GET", f"{ML}/models/<slow>", until={"model_state": ["DEPLOYED"]}),
    )
    yield sides
    for method, path in (
        ("POST", "models/<slow>/_undeploy"),
        ("DELETE", "models/<slow>"),
        ("DELETE", "connectors/<slow_c>"),
    ):
        for side in sides:
            await side.answer(Step("gone", method, f"{ML}/{path}"))


async def told(sides: tuple[Side, Side], *steps: Step) -> None:
    for side in sides:
        for step in steps:
            got = await side.answer(step)
            assert got.status in (200, 201), got


def index(name: str, pipeline: str | None = None) -> list[Step]:
    settings: dict[str, Any] = {"number_of_shards": 1, "number_of_replicas": 0}
    if pipeline is not None:
        settings["index.search.default_pipeline"] = pipeline
    lines: list[Any] = []
    for number, title in enumerate(TITLES):
        lines += [{"index": {"_id": str(number)}}, {"title": title, "num": number}]
    bulk = "".join(json.dumps(line) + "\n" for line in lines)
    return [
        Step(f"index {name}", "PUT", f"/{name}", {"settings": settings}),
        Step(f"fill {name}", "POST", f"/{name}/_bulk?refresh=true", bulk),
    ]


def search(name: str, body: Any = MATCH, more: str = "", *, at: str = "/<unique>", **options: Any) -> Step:
    options.setdefault("skip", EMPTY_PROFILE)
    return Step(name, "POST", f"{at}/_search{more}", body, unordered=True, **options)


def item(source: Any, at: str = "<unique>") -> str:
    return json.dumps({"index": at}) + "\n" + json.dumps(source) + "\n"


async def test_a_new_default_is_in_effect_once_it_is_acknowledged(lanes: tuple[Side, Side]) -> None:
    steps = [*index("<unique>-n")]
    for turn in range(8):
        for pipeline in ("_none", "<unique>"):
            change = {"index.search.default_pipeline": pipeline}
            steps.append(Step(f"{pipeline} {turn}", "PUT", "/<unique>-n/_settings", change))
            steps.append(search(f"after {pipeline} {turn}", at="/<unique>-n"))
    for turn in range(4):
        for verb, name in (
            ("remove", "<unique>-n"),
            ("add", "<unique>-n"),
            ("remove", "<unique>"),
            ("add", "<unique>"),
        ):
            action = {"actions": [{verb: {"index": name, "alias": "<unique>-alias"}}]}
            if turn or verb == "add":
                steps.append(Step(f"{verb} {name} {turn}", "POST", "/_aliases", action))
                steps.append(search(f"after {verb} {name} {turn}", at="/<unique>-alias"))
    await play(steps, *lanes)


async def test_indices_that_come_and_close(lanes: tuple[Side, Side]) -> None:
    template = {
        "index_patterns": ["<unique>-w*"],
        "template": {"settings": {"number_of_shards": 1, "index.search.default_pipeline": "<unique>"}},
    }
    both = {"actions": [{"add": {"index": name, "alias": "<unique>-alias"}} for name in ("<unique>", "<unique>-c")]}
    steps = [
        Step("template", "PUT", "/_index_template/<unique>", template),
        search("before it is made", at="/<unique>-w1"),
        Step("made by a write", "PUT", "/<unique>-w1/_doc/1?refresh=true", {"title": "red", "num": 7}),
        search("made", at="/<unique>-w1"),
        *index("<unique>-c", "other"),
        Step("alias", "POST", "/_aliases", both),
        Step("close", "POST", "/<unique>-c/_close"),
        search("list with a closed index", more="?ignore_unavailable=true", at="/<unique>,<unique>-c"),
        search("alias with a closed index", more="?ignore_unavailable=true", at="/<unique>-alias"),
        search("closed index is named", at="/<unique>,<unique>-c"),
        search("wildcard leaves it out", at="/<unique>,<unique>-c*"),
    ]
    await play(steps, *lanes)


async def test_bodies_in_the_url(lanes: tuple[Side, Side]) -> None:
    def get(name: str, path: str, body: str, kind: str = "application/json") -> Step:
        target = f"{path}?source_content_type={kind}&source={quote(body, safe='<>')}"
        return Step(name, "GET", target, unordered=True, skip=EMPTY_PROFILE)

    template = {"source": MATCH}
    steps = [
        get("search", "/<unique>/_search", json.dumps(MATCH)),
        get("template", "/<unique>/_search/template", json.dumps(template)),
        get("items", "/_msearch", item(MATCH), "application/x-ndjson"),
        get("items by template", "/_msearch/template", item(template), "application/x-ndjson"),
        get("empty", "/<unique>/_search", ""),
        get("blank", "/<unique>/_search", " "),
        get("wrong kind", "/<unique>/_search", "{}", "zork"),
        get("text", "/<unique>/_search", "{}", "text/plain"),
        Step("no kind", "GET", "/<unique>/_search?source=%7B%7D"),
        Step("kind alone", "GET", "/<unique>/_search?source_content_type=application/json"),
        search("and a body", more="?source_content_type=application/json&source=%7B%7D"),
    ]
    await play(steps, *lanes)


async def test_what_the_cluster_refuses(lanes: tuple[Side, Side]) -> None:
    source, plain = json.dumps(MATCH), {"Content-Type": "text/plain"}
    steps = [
        search(f"verbose in the URL {value}", more=f"?verbose_pipeline={value}") for value in ("zork", "1", "TRUE")
    ]
    values = (1, 0, "zork", "TRUE", None, [], {})
    steps += [search(f"verbose {value!r}", {**MATCH, "verbose_pipeline": value}) for value in values]
    steps += [search(f"pretty {value}", more=f"?pretty={value}") for value in ("1", "True", "zork")]
    skipping: dict[str, Any] = {"unordered": True, "skip": EMPTY_PROFILE}
    steps += [
        search("text", source, headers=plain),
        search("other text", source, headers={"Content-Type": "text/json"}),
        search("no kind", source, headers={"Content-Type": "json"}),
        search("lines", source, headers=LINES),
        search("blank", " "),
        search("false as a text", {**MATCH, "verbose_pipeline": "false"}),
        Step("items without an end", "POST", "/_msearch", item(MATCH).rstrip(), LINES),
        Step("items after an empty line", "POST", "/_msearch", "\n" + item(MATCH), LINES, **skipping),
        Step("items before a header", "POST", "/_msearch", item(MATCH) + "{}\n", LINES, **skipping),
        Step("items as text", "POST", "/_msearch", item(MATCH), plain),
        Step("items, pretty", "POST", "/_msearch?pretty=1", item(MATCH), LINES),
        Step("template", "POST", "/<unique>/_search/template", {"source": MATCH, "zork": 1}),
        Step("template's flag", "POST", "/<unique>/_search/template", {"source": MATCH, "explain": 1}),
        Step("template as text", "POST", "/<unique>/_search/template", {"source": MATCH}, plain),
        Step("items by template", "POST", "/_msearch/template", item({"source": MATCH, "zork": 1}), LINES),
        Step("pipeline in a template", "POST", "/<unique>/_search/template",
             {"source": {**MATCH, "search_pipeline": "_none"}}, unordered=True,
             differs="a template's search names its pipeline in vain in the reference", status=200),
    ]  # fmt: skip
    await play(steps, *lanes)


async def test_time(slow: tuple[Side, Side]) -> None:
    asked = {**MATCH, "search_pipeline": {"request_processors": [ASKED]}}
    # One hit: the reference answers several in the order in which the model did.
    answered = {**MATCH, "size": 1, "search_pipeline": {"response_processors": [ANSWERED]}}
    steps = [
        *index("<unique>"),
        search("timeout before", {**asked, "timeout": "100ms"}),
        search("timeout after", answered, "?timeout=100ms"),
        search("cancelled in a body", {**answered, "cancel_after_time_interval": "100ms"}, skip=("profile", "col")),
        search("never cancelled", answered, "?cancel_after_time_interval=-1"),
        search("cancelled after", answered, "?cancel_after_time_interval=100ms",
               differs="200: what is cancelled are the shards' tasks, which are done", status=500),
        search("cancelled before", asked, "?cancel_after_time_interval=100ms",
               differs="search_phase_execution_exception, once the model has answered", status=500),
        Step("gone", "DELETE", "/<unique>"),
    ]  # fmt: skip
    await play(steps, *slow)


async def test_parameters_in_the_normal_form(slow: tuple[Side, Side]) -> None:
    shown = {**MATCH, "search_pipeline": {"request_processors": [ASKED]}}
    named = {
        "query": {"match": {"title": {"query": "red", "_name": "it"}}},
        "search_pipeline": shown["search_pipeline"],
    }
    steps = [*index("<unique>")]
    for more in (
        "rest_total_hits_as_int=true",
        "include_named_queries_score=true",
        "include_named_queries_score=false",
    ):
        target, skip = f"?verbose_pipeline=true&{more}", ("profile", "duration_millis")
        steps += [
            search(more, body, target, skip=skip) for body in (shown, {**shown, "track_total_hits": False}, named)
        ]
    steps.append(Step("gone", "DELETE", "/<unique>"))
    await play(steps, *slow)


@pytest.mark.parametrize("path", ["/_search", "/_search?zork=1", "/_search/template"])
async def test_answers_are_coded_as_the_reference_codes_them(lanes: tuple[Side, Side], path: str) -> None:
    body = {"source": MATCH} if path.endswith("template") else MATCH
    for accepted in ("gzip", "deflate", "deflate, gzip", "gzip;q=0", "x-gzip", "identity"):
        found = []
        for side in lanes:
            headers = {**JSON, "Accept-Encoding": accepted}
            async with aiohttp.ClientSession() as session:
                target = side.url + side.filled("/<unique>") + path
                async with session.post(target, data=json.dumps(body), headers=headers) as answer:
                    assert await answer.json()
                    found.append((answer.status, answer.headers.get("Content-Encoding")))
        assert found[0] == found[1], accepted
