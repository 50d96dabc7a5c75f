"""Search pipelines: chosen, defined, split and shown as the reference does it, with one fake service behind both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fake_service import FakeService, Received, Told, private_endpoints
from scenario import ML, Side, Step, play
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.parity]

MARKED = {"ml_inference": {"model_id": "<labels>", "input_map": [{"input": "title"}], "output_map": [{"label": "out"}]}}
"""A response processor: every hit gets a label."""
ASKED = {
    "ml_inference": {
        "model_id": "<echo>",
        "input_map": [{"input": "query.match.title.query"}],
        "output_map": [{"query.match.title.query": "echo.input"}],
    }
}
"""A request processor that changes nothing."""
WRONG = {
    "ml_inference": {"model_id": "<echo>", "input_map": [{"input": "query.nope"}], "output_map": [{"query.nope": "x"}]}
}
UNREADABLE = (
    {"ml_inference": {**ASKED["ml_inference"], "output_map": [{"query.match.title.query": "echo"}]}},
    {"ml_inference": {**ASKED["ml_inference"], "output_map": [{"query": "echo"}]}},
    {"ml_inference": {**ASKED["ml_inference"], "query_template": '{"query":{"nope":{}}}'}},
    {"ml_inference": {**ASKED["ml_inference"], "query_template": '{"query":'}},
)
"""Request processors that write what is no search."""
VERBOSE = "?verbose_pipeline=true"
FRUIT = {"filter_query": {"query": {"term": {"tag": "fruit"}}}}
MATCH = {"query": {"match": {"title": "red pear car"}}, "sort": ["num"]}
CUT_TO_ONE = {"truncate_hits": {"target_size": 1}}
LINES = {"Content-Type": "application/x-ndjson"}
EMPTY_PROFILE = ("profile",)
DOCUMENTS = (("red apple", "fruit"), ("green pear", "fruit"), ("blue car", "thing"))


@pytest.fixture(scope="module", autouse=True)
def _private(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    with private_endpoints(parity_bridge), private_endpoints(reference.url):
        yield


def _labels(received: Received) -> Told:
    given = received.body.get("input")
    return Told({"out": [f"label of {text}" for text in given]} if isinstance(given, list) else {"out": given})


@pytest.fixture
async def both(sides: tuple[Side, Side], fake_service: FakeService) -> AsyncIterator[tuple[Side, Side]]:
    """Models `<labels>` and `<echo>`, index `<unique>` with three documents."""
    fake_service.echo("/echo")
    fake_service.answer_by(_labels, path="/labels")
    steps = []
    for name, body in (("labels", '{"input": ${parameters.input}}'), ("echo", '{"input": "${parameters.input}"}')):
        connector = fake_service.connector(body, path=f"/{name}")
        made = {"name": f"<unique> {name}", "function_name": "remote", "connector_id": f"<{name}-c>".replace("-", "_")}
        steps += [
            Step(name, "POST", f"{ML}/connectors/_create", connector, capture={f"{name}_c": "connector_id"}),
            Step(name, "POST", f"{ML}/models/_register?deploy=true", made, capture={name: "model_id"}),
            Step(name, "GET", f"{ML}/models/<{name}>", until={"model_state": ["DEPLOYED"]}),
        ]
    steps += index_steps("<unique>")
    for side in sides:
        for step in steps:
            got = await side.answer(step)
            assert got.status in (200, 201), got
    yield sides
    for side in sides:
        await side.answer(Step("gone", "DELETE", "/<unique>*"))
        await side.answer(Step("gone", "DELETE", "/_search/pipeline/<unique>*"))
        for name in ("labels", "echo"):
            await side.answer(Step("gone", "POST", f"{ML}/models/<{name}>/_undeploy"))
            await side.answer(Step("gone", "DELETE", f"{ML}/models/<{name}>"))
            await side.answer(Step("gone", "DELETE", f"{ML}/connectors/<{name}_c>"))


def index_steps(name: str, pipeline: str | None = None) -> list[Step]:
    settings: dict[str, Any] = {"number_of_shards": 1, "number_of_replicas": 0}
    if pipeline is not None:
        settings["index.search.default_pipeline"] = pipeline
    mappings = {"properties": {"title": {"type": "text"}, "num": {"type": "integer"}, "tag": {"type": "keyword"}}}
    lines: list[Any] = []
    for number, (title, tag) in enumerate(DOCUMENTS):
        lines += [{"index": {"_id": str(number)}}, {"title": title, "num": number, "tag": tag}]
    bulk = "".join(json.dumps(line) + "\n" for line in lines)
    return [
        Step(f"index {name}", "PUT", f"/{name}", {"settings": settings, "mappings": mappings}),
        Step(f"fill {name}", "POST", f"/{name}/_bulk?refresh=true", bulk),
    ]


def put(name: str, body: Any, id: str = "<unique>", **options: Any) -> Step:
    return Step(name, "PUT", f"/_search/pipeline/{id}", body, **options)


def search(name: str, body: Any = MATCH, more: str = "", *, index: str = "/<unique>", **options: Any) -> Step:
    # The reference writes changed documents in the order of a hash table.
    return Step(name, "POST", f"{index}/_search{more}", body, unordered=True, **options)


def inline(request: Any = (), response: Any = (), **more: Any) -> dict[str, Any]:
    chain = {"request_processors": list(request), "response_processors": list(response)}
    return {**MATCH, "search_pipeline": chain, **more}


def ignored(processor: dict[str, Any]) -> dict[str, Any]:
    return {kind: {**config, "ignore_failure": True} for kind, config in processor.items()}


async def test_definitions(both: tuple[Side, Side]) -> None:
    whole = {"description": "d", "version": 1, "request_processors": [FRUIT, ASKED], "response_processors": [MARKED]}
    steps = [
        put("put", whole),
        Step("get", "GET", "/_search/pipeline/<unique>"),
        put("nothing", {}, "<unique>-empty"),
        put("native", {"request_processors": [FRUIT]}, "<unique>-native"),
        Step("wildcard", "GET", "/_search/pipeline/<unique>-n*"),
        Step("list", "GET", "/_search/pipeline/<unique>,<unique>-nope"),
        Step("missing", "GET", "/_search/pipeline/<unique>-nope"),
        Step("missing to delete", "DELETE", "/_search/pipeline/<unique>-nope"),
        Step("wrong method", "POST", "/_search/pipeline/<unique>", {}, skip=("error",)),
        put("unknown processor", {"request_processors": [ASKED, {"foo": {}}]}, "<unique>-x"),
        put("other side", {"request_processors": [ASKED], "response_processors": [FRUIT]}, "<unique>-x"),
        put("not a list", {"request_processors": {}, "response_processors": [MARKED]}, "<unique>-x"),
        put("version", {"version": "a", "response_processors": [MARKED]}, "<unique>-x"),
        put("unknown key", {"response_processors": [MARKED], "zz": 1}, "<unique>-x"),
        put("bad native", {"request_processors": [ASKED, {"oversample": {}}]}, "<unique>-x"),
        put("bad flag", {"request_processors": [{"ml_inference": {"ignore_failure": "true"}}]}, "<unique>-x"),
        put("no body", None, "<unique>-x"),
        put("bad json", '{"a":', "<unique>-x"),
        put("config a text", {"request_processors": [{"ml_inference": "x"}]}, "<unique>-x",
            differs="500 class_cast_exception in the reference", status=400),
        Step("delete", "DELETE", "/_search/pipeline/<unique>*"),
        Step("gone", "GET", "/_search/pipeline/<unique>"),
    ]  # fmt: skip
    await play(steps, *both)


async def test_selection(both: tuple[Side, Side]) -> None:
    marked, asked = "<unique>-m", "<unique>-q"
    multi = "".join(
        json.dumps(line) + "\n"
        for line in (
            {"index": "<unique>-a"}, MATCH,
            {"index": "<unique>-c"}, {**MATCH, "search_pipeline": marked},
            {"index": "<unique>-a"}, {**MATCH, "search_pipeline": "_none"},
            {"index": "<unique>-a"}, {**MATCH, "search_pipeline": "nope"},
            {"index": "<unique>-zz"}, MATCH,
        )
    )  # fmt: skip
    template = {"source": {"query": {"match": {"title": "{{t}}"}}, "sort": ["num"]}, "params": {"t": "red car"}}
    steps = [
        put("marked", {"response_processors": [MARKED]}, marked),
        put("asked", {"request_processors": [ASKED, FRUIT]}, asked),
        *index_steps("<unique>-a", marked), *index_steps("<unique>-b", asked), *index_steps("<unique>-c"),
        search("default", index="/<unique>-a"),
        search("other default", index="/<unique>-b"),
        search("named", more=f"?search_pipeline={marked}"),
        search("named wins", more=f"?search_pipeline={marked}", index="/<unique>-b"),
        search("none", more="?search_pipeline=_none", index="/<unique>-a"),
        search("in the body", {**MATCH, "search_pipeline": marked}),
        search("none in the body", {**MATCH, "search_pipeline": "_none"}, index="/<unique>-a"),
        search("both named", {**MATCH, "search_pipeline": asked}, f"?search_pipeline={marked}"),
        search("inline", inline([ASKED, FRUIT], [MARKED])),
        search("inline beats default", inline([FRUIT]), index="/<unique>-a"),
        search("inline and named", inline([ASKED]), f"?search_pipeline={marked}"),
        search("inline and none", inline([ASKED]), "?search_pipeline=_none"),
        search("inline wrong", inline([{"foo": {}}, ASKED])),
        search("unknown", more="?search_pipeline=<unique>-nope"),
        search("two that agree", index="/<unique>-c,<unique>-a"),
        search("two that differ", index="/<unique>-a,<unique>-b"),
        search("a wildcard", index="/<unique>-*"),
        search("one of a wildcard", index="/<unique>-a*"),
        search("missing index", index="/<unique>-a,<unique>-zz"),
        search("missing index ignored", more="?ignore_unavailable=true", index="/<unique>-a,<unique>-zz"),
        Step("count", "POST", "/<unique>-b/_count", {"query": MATCH["query"]}),
        Step("count by url", "GET", "/<unique>-a/_count?q=title:red"),
        Step("msearch", "POST", "/_msearch", multi, LINES, unordered=True),
        Step("msearch named", "POST", f"/<unique>-a/_msearch?search_pipeline={marked}", "{}\n{}\n", LINES),
        Step("template", "POST", "/<unique>-a/_search/template", template, unordered=True),
        Step("template named", "POST", f"/<unique>-c/_search/template?search_pipeline={marked}", template,
             unordered=True),
        Step("msearch template", "POST", "/<unique>-a/_msearch/template", "{}\n" + json.dumps(template) + "\n", LINES,
             unordered=True),
        Step("pit", "POST", "/<unique>-a/_search/point_in_time?keep_alive=1m", capture={"pit": "pit_id"},
             skip=("pit_id", "creation_time")),
        search("by pit", {**MATCH, "pit": {"id": "<pit>"}}, index="", skip=("pit_id",)),
        Step("pit gone", "DELETE", "/_search/point_in_time", {"pit_id": ["<pit>"]}, skip=("pit_id",)),
        search("scroll", {**MATCH, "size": 1}, "?scroll=1m", index="/<unique>-a", capture={"scroll": "_scroll_id"},
               skip=("_scroll_id",)),
        Step("scroll on", "POST", "/_search/scroll", {"scroll_id": "<scroll>"}, skip=("_scroll_id",)),
        Step("scroll gone", "DELETE", "/_search/scroll", {"scroll_id": "<scroll>"}),
        Step("changed", "PUT", "/<unique>-a/_settings", {"index.search.default_pipeline": asked}),
        search("default changed", index="/<unique>-a"),
        Step("deleted", "DELETE", f"/_search/pipeline/{asked}"),
        search("default deleted", index="/<unique>-a"),
        search("no index", {**MATCH, "size": 0, "query": {"match_none": {}}}, index=""),
    ]  # fmt: skip
    await play(steps, *both)


async def test_splitting(both: tuple[Side, Side]) -> None:
    rename = {"rename_field": {"field": "label", "target_field": "mark"}}
    over, cut = {"oversample": {"sample_factor": 2}}, {"truncate_hits": {}}
    wrong_native = {"script": {"lang": "painless", "source": "ctx._source.zz = 1"}}
    steps = [
        search("native first", inline([FRUIT, ASKED], [{"rename_field": {"field": "title", "target_field": "t"}}])),
        search("ours first", inline([ASKED, FRUIT], [CUT_TO_ONE, MARKED]), skip=EMPTY_PROFILE),
        search("twice", inline([ASKED, ASKED])),
        search("native behind ours", inline((), [MARKED, rename])),
        search("several behind ours", inline((), [MARKED, rename, {"truncate_hits": {"target_size": 2}}]),
               skip=EMPTY_PROFILE),
        search("oversampled", inline([over, ASKED], [cut], size=1), skip=EMPTY_PROFILE),
        search("oversampled behind ours", inline([ASKED, over], [MARKED, cut], size=1), skip=EMPTY_PROFILE),
        search("nothing to go by", inline((), [MARKED, cut]), differs="500 in the reference", status=400),
        search("a native fails", inline([wrong_native, ASKED])),
        search("ours fails", inline([WRONG])),
        search("ours fails and is ignored", inline([ignored(WRONG)])),
        search("native fails and is ignored", inline([ignored(wrong_native), ASKED])),
        search("unknown query", {**inline([ASKED]), "query": {"foo": {}}}, skip=("line", "col", "reason")),
        search("one element with two", inline([{**ASKED, **FRUIT}])),
    ]  # fmt: skip
    await play(steps, *both)


async def test_presentation(both: tuple[Side, Side]) -> None:
    aggs = {"aggs": {"t": {"terms": {"field": "tag"}}}}
    steps = [
        put("marked", {"response_processors": [MARKED]}),
        put("asked", {"request_processors": [ASKED]}, "<unique>-q"),
    ]
    for number, (more, body) in enumerate(
        [
            ("filter_path=hits.hits._id,hits.hits._source.label", MATCH),
            ("filter_path=-hits.hits._source.title", MATCH),
            ("rest_total_hits_as_int=true", MATCH),
            ("rest_total_hits_as_int=true&track_total_hits=false", MATCH),
            ("rest_total_hits_as_int=true", {**MATCH, "track_total_hits": 5}),
            ("typed_keys=true", {**MATCH, **aggs}),
            ("human=true&error_trace=false", MATCH),
            (
                "size=1&sort=num:desc&_source_includes=num,title&track_total_hits=false&routing=a&request_cache=false",
                MATCH,
            ),
            ("q=title:pear&stored_fields=_none_", {}),
            ("version=true&seq_no_primary_term=true&explain=false", MATCH),
            ("size=x", MATCH),
            ("nope=1", MATCH),
            ("", {**MATCH, "highlight": {"fields": {"title": {}}}, "fields": ["num"], "_source": ["title"], **aggs}),
            ("", {**MATCH, "suggest": {"s": {"text": "aple", "term": {"field": "title"}}}}),
            ("", {**MATCH, "size": 0}),
            ("", {**MATCH, "_source": False}),
            ("", {**MATCH, "collapse": {"field": "tag", "inner_hits": {"name": "n", "size": 1}}}),
            ("", {**MATCH, "post_filter": {"term": {"tag": "thing"}}, "min_score": 0.1, "track_total_hits": 1}),
        ]
    ):
        for pipeline in ("<unique>", "<unique>-q"):
            if pipeline == "<unique>-q" and "q=title" in more:
                continue
            target = f"?search_pipeline={pipeline}&{more}"
            steps.append(search(f"{number} {more} {pipeline}", body, target, skip=("_seq_no",)))
    await play(steps, *both)


async def test_verbose(both: tuple[Side, Side]) -> None:
    failing = {"ml_inference": {**WRONG["ml_inference"], "tag": "f"}}
    steps = [
        search("no pipeline", more="?verbose_pipeline=true"),
        search("all", inline([ASKED, FRUIT], [CUT_TO_ONE, MARKED]),
                    "?verbose_pipeline=true", skip=(*EMPTY_PROFILE, "duration_millis")),
        search("a failure", inline([failing, ASKED], [MARKED], verbose_pipeline=True),
               skip=("duration_millis", "error")),
    ]  # fmt: skip
    await play(steps, *both)


async def test_failures_that_are_ignored(both: tuple[Side, Side]) -> None:
    """Of the processor itself, and of the cluster that can't read what it wrote."""
    steps = []
    for name, processor in (("no path", WRONG), *((f"wrong {number}", one) for number, one in enumerate(UNREADABLE))):
        for more, rest in (("", ()), (" before a native", (FRUIT,)), (" before ours", (ASKED,))):
            steps += [
                search(f"{name}{more}", inline([processor, *rest]), skip=("type", "reason")),
                search(f"{name}{more}, ignored", inline([ignored(processor), *rest])),
                search(f"{name}{more}, verbose", inline([processor, *rest]), VERBOSE,
                       skip=("duration_millis", "error")),
                search(f"{name}{more}, ignored, verbose", inline([ignored(processor), *rest]), VERBOSE,
                       skip=("duration_millis",)),
            ]  # fmt: skip
    lacking = {"ml_inference": {**MARKED["ml_inference"], "output_map": [{"label": "nope"}]}}
    unknown = {"ml_inference": {**MARKED["ml_inference"], "model_id": "nope"}}
    skipped = (*EMPTY_PROFILE, "duration_millis", "error")
    steps += [
        # The reference may answer this one twice, garbled.
        search("answer ignored", inline((), [ignored(lacking), CUT_TO_ONE]), skip=skipped,
               until={"timed_out": [False]}),
        search("model ignored", inline((), [ignored(unknown), CUT_TO_ONE]), skip=skipped),
        search("model ignored, verbose", inline((), [ignored(unknown), CUT_TO_ONE]), VERBOSE, skip=skipped),
        search("model, verbose", inline((), [unknown, CUT_TO_ONE]), VERBOSE, skip=skipped),
    ]  # fmt: skip
    await play(steps, *both)


async def test_sources_in_verbose_mode(both: tuple[Side, Side]) -> None:
    """With the `ext` and the pipeline of the client, until a query template takes their place."""
    ext = {"ext": {"ml_inference": {"k": "v"}}}
    templated = {"ml_inference": {**ASKED["ml_inference"], "output_map": [{"t": "echo.input"}],
                                  "query_template": '{"query":{"match":{"title":"${t}"}},"size":2}'}}  # fmt: skip
    steps = []
    for number, first in enumerate((ASKED, templated)):
        name = f"<unique>-{number}"
        steps.append(put(f"put {number}", {"request_processors": [first, FRUIT]}, name))
        for more in ({}, ext):
            steps += [
                search("alone", inline([first], **more), VERBOSE, skip=("duration_millis",)),
                search("twice", inline([first, ASKED], **more), VERBOSE, skip=("duration_millis",)),
                search("native behind", inline([first, FRUIT], **more), VERBOSE, skip=("duration_millis",)),
                search("native before", inline([{"oversample": {"sample_factor": 1}}, first], **more), VERBOSE,
                       skip=("duration_millis",)),
                search("by url", {**MATCH, **more}, f"{VERBOSE}&search_pipeline={name}", skip=("duration_millis",)),
                search("by name", {**MATCH, **more, "search_pipeline": name}, VERBOSE, skip=("duration_millis",)),
            ]  # fmt: skip
    await play(steps, *both)


async def test_inline_definitions(both: tuple[Side, Side]) -> None:
    steps = []
    for ours in ({"response_processors": [MARKED]}, {"request_processors": [ASKED]}, {"request_processors": [WRONG]}):
        for key, value in (
            ("zork", 1), ("description", 3), ("description", None), ("version", "x"), ("version", "7"),
            ("version", 1.5), ("request_processors", "x"), ("request_processors", None), ("response_processors", {}),
            ("response_processors", None), ("phase_results_processors", {}), ("phase_results_processors", []),
        ):  # fmt: skip
            if key not in ours:
                steps.append(search(f"{key} {value}", {**MATCH, "search_pipeline": {**ours, key: value}}))
    await play(steps, *both)
