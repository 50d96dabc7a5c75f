"""Search pipelines with processors of ours before a real OpenSearch: kept, chosen, split and run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from search_lane import SEEN, SearchLane, searching

pytestmark = pytest.mark.integration
__all__ = ["searching"]

RED = {"term": {"color": "red"}}
ALL = {"query": {"match_all": {}}, "sort": ["n"]}


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def marks(answer: Any) -> list[Any]:
    return [hit["_source"].get("mark") for hit in answer["hits"]["hits"]]


async def test_definitions_are_kept_whole_and_their_rest_stands_in_the_cluster(searching: SearchLane) -> None:
    name = searching.name
    path = f"/_search/pipeline/{name}"
    native = {"filter_query": {"query": RED, "tag": "x"}}
    cut = {"truncate_hits": {"target_size": 2}}
    whole = {
        "description": "d", "version": 3,
        "request_processors": [native, {"only": {}}, {"oversample": {"sample_factor": 2}}],
        "response_processors": [cut, {"mark": {}}],
    }  # fmt: skip
    assert await searching.ok("PUT", path, whole) == {"acknowledged": True}
    assert await searching.ok("GET", path) == {name: whole}
    rest = (await searching.ok("GET", path, direct=True))[name]
    before = [native, {"oversample": {"sample_factor": 2}}]
    assert rest == {**whole, "request_processors": before, "response_processors": [cut]}
    await searching.ok("PUT", f"{path}-n", {"request_processors": [native]})
    found = await searching.ok("GET", f"/_search/pipeline/{name}*,{name}-nope")
    assert found == {name: whole, f"{name}-n": {"request_processors": [native]}}
    assert (await searching.ok("GET", "/_search/pipeline"))[name] == whole
    assert await searching.ok("DELETE", f"/_search/pipeline/{name}*") == {"acknowledged": True}
    for direct in (True, False):
        assert await searching.call("GET", path, direct=direct) == (404, {})
    assert searching.services.pipelines.search_names() == []
    status, answer = await searching.call("DELETE", path)
    assert (status, answer["error"]["type"]) == (404, "resource_not_found_exception")
    status, answer = await searching.call("POST", path, {})
    assert status == 405


@pytest.mark.parametrize(
    ("request_chain", "response_chain", "more", "kind", "reason"),
    [
        ([{"only": {"bad": 1}}], [], {}, "parse_exception", "[bad] is bad"),
        ([{"only": []}], [], {}, "parse_exception", "property isn't a map, but of type [java.util.ArrayList]"),
        ([{"only": {"ignore_failure": "true"}}], [], {}, "parse_exception",
         "[ignore_failure] property isn't a boolean, but of type [java.lang.String]"),
        ([{"only": {}}, {"nope": {}}], [], {}, "illegal_argument_exception", "Invalid processor type nope"),
        ([{"only": {}}, {"oversample": {}}], [], {}, "parse_exception", "[sample_factor] required property is missing"),
        ([{"oversample": {"sample_factor": 0.5}}, {"only": {}}], [], {}, "parse_exception",
         "[sample_factor] Value must be >= 1.0"),
        ([{"only": {}}], [], {"zz": 1}, "parse_exception", None),
        ([{"only": {}}], {}, {}, "parse_exception",
         "[response_processors] property isn't a list, but of type [java.util.HashMap]"),
        ([{"only": {}}], [], {"version": "a"}, "parse_exception",
         "[version] property cannot be converted to an int [a]"),
        ([{"neural_query_enricher": {"default_model_id": "m"}}], [], {}, "illegal_argument_exception",
         "processor [neural_query_enricher] is not served by this bridge yet, and the cluster has none of that name"),
        ([{"only": {}}], [], {"phase_results_processors": [{"normalization-processor": {}}]},
         "illegal_argument_exception",
         "processor [normalization-processor] is not served by this bridge yet, and the cluster has none of that name"),
        ([], [{"mark": {}}, {"personalize": {}}], {}, "illegal_argument_exception", None),
    ],
)  # fmt: skip
async def test_wrong_definitions_are_refused_and_nothing_is_kept(
    searching: SearchLane, request_chain: Any, response_chain: Any, more: Any, kind: str, reason: str | None
) -> None:
    path = f"/_search/pipeline/{searching.name}"
    body = {"request_processors": request_chain, "response_processors": response_chain, **more}
    status, answer = await searching.call("PUT", path, body)
    assert (status, answer["error"]["type"]) == (400, kind)
    assert reason is None or answer["error"]["reason"] == reason
    assert searching.services.pipelines.search_names() == []
    assert await searching.call("GET", path, direct=True) == (404, {})


async def test_the_cluster_has_nothing_of_a_pipeline_before_the_bridge_knows_it(
    searching: SearchLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, known = searching.name, searching.services.pipelines
    put, seen = known.put, []

    async def looked(pipeline: Any) -> None:
        seen.append(await searching.call("GET", f"/_search/pipeline/{name}", direct=True))
        await put(pipeline)

    monkeypatch.setattr(known, "put", looked)
    native = {"request_processors": [{"filter_query": {"query": RED}}]}
    chain = {"response_processors": [{"mark": {}}, {"truncate_hits": {"target_size": 1}}]}
    for before in (None, native):
        if before is not None:
            await searching.ok("PUT", f"/_search/pipeline/{name}", before)
        await searching.ok("PUT", f"/_search/pipeline/{name}", chain)
        rest = await searching.ok("GET", f"/_search/pipeline/{name}", direct=True)
        assert rest == {name: {"response_processors": []}}
        await searching.ok("DELETE", f"/_search/pipeline/{name}")
    assert seen == [(404, {}), (200, {name: native})]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("zork", 1, "pipeline [_ad_hoc_pipeline] doesn't support one or more provided configuration parameters [zork]"),
        ("description", 3, "[description] property isn't a string, but of type [java.lang.Integer]"),
        ("version", "x", "[version] property cannot be converted to an int [x]"),
        ("request_processors", "x", "[request_processors] property isn't a list, but of type [java.lang.String]"),
        ("phase_results_processors", {},
         "[phase_results_processors] property isn't a list, but of type [java.util.LinkedHashMap]"),
    ],
)  # fmt: skip
async def test_inline_pipelines_are_judged_by_the_cluster(
    searching: SearchLane, key: str, value: Any, reason: str
) -> None:
    await searching.fill(searching.name)
    for ours in ({"response_processors": [{"mark": {}}]}, {"request_processors": [{"only": {}}]}):
        if key in ours:
            continue
        body = {**ALL, "search_pipeline": {**ours, key: value}}
        status, answer = await searching.call("POST", f"/{searching.name}/_search", body)
        assert (status, answer["error"]["type"], answer["error"]["reason"]) == (400, "parse_exception", reason)
    assert SEEN == []
    named = {"description": "d", "version": 3, "request_processors": None, "response_processors": [{"mark": {}}]}
    answer = await searching.ok("POST", f"/{searching.name}/_search", {**ALL, "search_pipeline": named})
    assert marks(answer) == [0, 1, 2, 3]


async def test_a_pipeline_is_chosen_as_the_server_chooses(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(name, response=[{"mark": {}}])
    await searching.define(f"{name}-r", [{"only": {"filter": RED}}])
    await searching.fill(f"{name}-a", name)
    await searching.fill(f"{name}-b", f"{name}-r")
    await searching.fill(f"{name}-c")
    await searching.ok("POST", "/_aliases", {"actions": [{"add": {"index": f"{name}-a", "alias": f"{name}-x"}}]})

    async def found(path: str, **more: Any) -> tuple[int, bool]:
        answer = await searching.ok("POST", f"/{name}{path}", {**ALL, **more})
        return answer["hits"]["total"]["value"], marks(answer) == list(range(len(ids(answer))))

    assert await found("-c/_search") == (4, False)
    assert await found(f"-c/_search?search_pipeline={name}") == (4, True)
    assert await found("-c/_search", search_pipeline=name) == (4, True)
    assert await found("-c/_search", search_pipeline={"response_processors": [{"mark": {}}]}) == (4, True)
    assert await found("-a/_search") == (4, True)
    assert await found("-x/_search") == (4, True)
    assert await found(f"-a/_search?search_pipeline={name}-r") == (3, False)
    assert await found(f"-a/_search?search_pipeline={name}", search_pipeline=f"{name}-r") == (4, True)
    assert await found("-a/_search?search_pipeline=_none") == (4, False)
    assert await found("-a/_search", search_pipeline="_none") == (4, False)
    assert await found(f"-a,{name}-c/_search") == (8, True)
    assert await found(f"-a,{name}-b/_search") == (8, False)
    assert await found("-*/_search") == (12, False)
    assert await found("-z*,-nope/_search?ignore_unavailable=true") == (0, True)
    whole = await searching.ok("POST", f"/_search?q=color:red&search_pipeline={name}-r", {"size": 0})
    assert whole["hits"]["total"]["value"] >= 9
    status, answer = await searching.call("POST", f"/{name}-a/_search?search_pipeline=nope", ALL)
    assert (status, answer["error"]["reason"]) == (400, "Pipeline nope is not defined")
    both = {**ALL, "search_pipeline": {"response_processors": [{"mark": {}}]}}
    status, answer = await searching.call("POST", f"/{name}-a/_search?search_pipeline=_none", both)
    assert status == 400
    assert answer["error"]["reason"].startswith("Both named and inline search pipeline were specified.")
    # A default that changes through the bridge counts at once.
    await searching.ok("PUT", f"/{name}-a/_settings", {"index.search.default_pipeline": f"{name}-r"})
    assert await found("-a/_search") == (3, False)
    await searching.ok("DELETE", f"/_search/pipeline/{name}-r")
    status, answer = await searching.call("POST", f"/{name}-a/_search", ALL)
    assert (status, answer["error"]["reason"]) == (400, f"Pipeline {name}-r is not defined")


async def test_points_in_time_and_scrolls_bring_the_pipeline_along(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(name, [{"only": {"filter": RED}}], [{"mark": {}}])
    await searching.fill(name, name)
    pit = (await searching.ok("POST", f"/{name}/_search/point_in_time?keep_alive=1m"))["pit_id"]
    answer = await searching.ok("POST", "/_search", {**ALL, "pit": {"id": pit}})
    assert (ids(answer), marks(answer)) == (["0", "2", "3"], [0, 1, 2])
    assert answer["pit_id"] == pit
    assert SEEN[-1]["pit"] == {"id": pit}
    await searching.ok("DELETE", "/_search/point_in_time", {"pit_id": [pit]})
    page = await searching.ok("POST", f"/{name}/_search?scroll=1m", {**ALL, "size": 2})
    assert (ids(page), marks(page)) == (["0", "2"], [0, 1])
    more = await searching.ok("POST", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
    assert (ids(more), marks(more)) == (["3"], [None])


async def test_counts_follow_the_rewritten_query(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(
        name, [{"only": {"filter": RED}}, {"filter_query": {"query": {"range": {"n": {"gt": 0}}}}}], [{"mark": {}}]
    )
    await searching.fill(name, name)
    assert (await searching.ok("POST", f"/{name}/_count", {"query": {"match_all": {}}}))["count"] == 2
    answer = await searching.ok("GET", f"/{name}/_count?q=n:3")
    assert answer["count"] == 1
    assert answer["_shards"]["successful"] == 1
    status, answer = await searching.call("POST", f"/{name}/_count", {"query": {"match_all": {}}, "size": 1})
    assert status == 400


async def test_items_of_a_multi_search_are_searches_of_their_own(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(name, [{"only": {"filter": RED}}], [{"mark": {}}])
    await searching.define(f"{name}-bad", response=[{"mark": {"fail": "broken"}}])
    await searching.fill(f"{name}-a", name)
    await searching.fill(f"{name}-b")
    lines: list[Any] = []
    for head, more in (
        ({"index": f"{name}-a"}, {}),
        ({"index": f"{name}-b"}, {}),
        ({"index": [f"{name}-b"]}, {"search_pipeline": f"{name}-bad"}),
        ({"index": f"{name}-b"}, {"search_pipeline": {"response_processors": [{"mark": {}}]}}),
        ({"index": f"{name}-a"}, {"search_pipeline": "_none"}),
        ({"index": f"{name}-a"}, {"search_pipeline": "nope"}),
        ({"index": f"{name}-zz"}, {}),
        ({"index": f"{name}-a"}, {"query": {"nope": {}}}),
    ):
        lines += [head, {**ALL, **more}]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    answers = (await searching.ok("POST", "/_msearch", body))["responses"]
    assert [answer["status"] for answer in answers] == [200, 200, 400, 200, 200, 400, 404, 400]
    good = [answers[place] for place in (0, 1, 3, 4)]
    assert [ids(answer) for answer in good] == [["0", "2", "3"], *[["0", "1", "2", "3"]] * 3]
    assert [marks(answer)[0] for answer in good] == [0, None, 0, None]
    assert [answers[place]["error"]["reason"] for place in (2, 5, 7)] == [
        "broken", "Pipeline nope is not defined", "unknown query [nope]",
    ]  # fmt: skip
    body = b"{}\n" + json.dumps(ALL).encode() + b"\n"
    shown = await searching.ok(
        "POST", f"/{name}-a/_msearch?filter_path=responses.hits.total&rest_total_hits_as_int", body
    )
    assert shown == {"responses": [{"hits": {"total": 3}}]}
    status, answer = await searching.call("POST", f"/{name}-a/_msearch?search_pipeline={name}", body)
    assert (status, "unrecognized parameter" in answer["error"]["reason"]) == (400, True)


async def test_templates_are_rendered_by_the_cluster(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(name, [{"only": {"filter": RED}}], [{"mark": {}}])
    await searching.fill(name, name)
    template = {"source": {"query": {"range": {"n": {"gte": "{{least}}"}}}, "sort": ["n"]}, "params": {"least": 1}}
    answer = await searching.ok("POST", f"/{name}/_search/template", template)
    assert (ids(answer), marks(answer), answer["status"]) == (["2", "3"], [0, 1], 200)
    plain = await searching.ok("POST", f"/{name}/_search/template?search_pipeline=_none", template)
    assert (ids(plain), marks(plain)) == (["1", "2", "3"], [None] * 3)
    body = b"".join(b"{}\n" + json.dumps(one).encode() + b"\n" for one in (template, {"source": "{bad"}))
    both = (await searching.ok("POST", f"/{name}/_msearch/template", body))["responses"]
    assert marks(both[0]) == [0, 1]
    assert "error" in both[1]
    stored = {"script": {"lang": "mustache", "source": {"query": {"term": {"n": "{{n}}"}}, "search_pipeline": name}}}
    await searching.ok("PUT", f"/_scripts/{name}", stored, direct=True)
    await searching.fill(f"{name}-b")
    answer = await searching.ok("POST", f"/{name}-b/_search/template", {"id": name, "params": {"n": 2}})
    await searching.ok("DELETE", f"/_scripts/{name}", direct=True)
    assert (ids(answer), marks(answer)) == (["2"], [0])
    status, answer = await searching.call("POST", f"/{name}/_search/template", {"id": "no-such", "params": {}})
    assert status == 404
