"""Searches through pipelines of ours before a real OpenSearch: what is split, sent, and made of the answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from search_lane import CANCELLED, DEADLINES, SEEN, SearchLane, searching

pytestmark = pytest.mark.integration
__all__ = ["searching"]

RED = {"term": {"color": "red"}}
ALL = {"query": {"match_all": {}}, "sort": ["n"]}
MARK = [{"mark": {}}]


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def marks(answer: Any) -> list[Any]:
    return [hit["_source"].get("mark") for hit in answer["hits"]["hits"]]


async def run(searching: SearchLane, body: Any, *, request: Any = (), response: Any = (), more: str = "") -> Any:
    pipeline = {"request_processors": list(request), "response_processors": list(response)}
    return await searching.ok("POST", f"/{searching.name}/_search{more}", {**body, "search_pipeline": pipeline})


async def test_natives_before_ours_run_before_and_natives_behind_run_with_the_search(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    low = {"filter_query": {"query": {"range": {"n": {"lt": 3}}}}}
    high = {"filter_query": {"query": {"range": {"n": {"gt": 0}}}}}
    for chain in (
        [low, {"only": {"filter": RED}}, high],
        [low, high, {"only": {"filter": RED}}],
        [{"only": {"filter": RED}}, low, {"only": {}}, high],
        [{"only": {}, "filter_query": low["filter_query"]}, {"only": {"filter": RED}}, high],
    ):
        answer = await run(searching, ALL, request=chain, response=[{"truncate_hits": {"target_size": 1}}, *MARK])
        assert (ids(answer), marks(answer), answer["hits"]["total"]["value"]) == (["2"], [0], 1)
    assert SEEN[-1]["query"]["bool"]["must"] == [{"match_all": {"boost": 1}}]


async def test_sizes_before_oversampling_are_remembered_across_the_cut(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    over, cut = {"oversample": {"sample_factor": 2}}, {"truncate_hits": {}}
    mine = {"oversample": {"sample_factor": 2, "context_prefix": "x"}}
    cut_mine = {"truncate_hits": {"context_prefix": "x"}}
    for request, response in (
        ([over, {"only": {}}], [cut]),
        ([{"only": {}}, over], [cut]),
        ([{"only": {}}, mine], [cut_mine, *MARK]),
        ([mine, {"only": {}}], [cut_mine]),
        ([over], [*MARK, cut]),
        ([{"only": {}}, mine, over], [*MARK, cut_mine, {"rename_field": {"field": "mark", "target_field": "m"}}]),
    ):
        for more, body in (("", {**ALL, "size": 1}), ("?size=1", ALL)):
            assert ids(await run(searching, body, request=request, response=response, more=more)) == ["0"]
    assert ids(await run(searching, {**ALL, "size": 1}, request=[over, {"only": {}}])) == ["0", "1"]


async def test_the_source_is_seen_in_its_normal_form_and_kept_as_it_was(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    body = {
        "query": {"match": {"t": "1 apple"}},
        "aggs": {"c": {"terms": {"field": "color"}}},
        "_source": "n", "highlight": {"fields": {"t": {}}}, "track_total_hits": True,
        "ext": {"ml_inference": {"k": "v"}, "rerank": {"query_context": {"query_text": "x"}}},
    }  # fmt: skip
    answer = await run(searching, body, request=[{"only": {"keys": {"size": 1}}}], response=[{"mark": {"look": True}}])
    first, last = SEEN
    assert first["query"]["match"]["t"]["query"] == "1 apple"
    assert first["query"]["match"]["t"]["operator"] == "OR"
    assert first["_source"] == {"includes": ["n"], "excludes": []}
    assert first["ext"] == body["ext"]
    assert (first["search_pipeline"], first["track_total_hits"]) == ({}, 2147483647)
    assert last == {**first, "size": 1}
    assert answer["hits"]["hits"][0] == {
        **answer["hits"]["hits"][0], "_source": {"n": 0, "mark": 0}, "highlight": {"t": ["a <em>apple</em>"]},
    }  # fmt: skip
    assert answer["aggregations"]["c"]["buckets"] == [{"key": "red", "doc_count": 1}]


async def test_parameters_of_the_url_are_part_of_the_source(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    more = "?q=12%20apple&df=t&size=2&sort=n:desc&_source_includes=n&track_total_hits=false&request_cache=false"
    for request in ([{"only": {}}], []):
        SEEN.clear()
        answer = await run(searching, {}, request=request, response=[{"mark": {"look": True}}], more=more)
        assert SEEN[-1]["query"]["query_string"]["query"] == "12 apple"
        assert (SEEN[-1]["size"], SEEN[-1]["track_total_hits"]) == (2, -1)
        assert answer["hits"]["hits"] == [{**answer["hits"]["hits"][0], "_source": {"n": 0, "mark": 0}, "sort": [0]}]
        assert "total" not in answer["hits"]
    whole = [{"only": {"source": {"query": {"match_all": {}}, "sort": ["n"]}}}]
    assert ids(await run(searching, {}, request=whole, more=more)) == ["0", "1", "2", "3"]
    status, answer = await searching.call(
        "POST", f"/{searching.name}/_search?size=x", {**ALL, "search_pipeline": {"request_processors": [{"only": {}}]}}
    )
    assert (status, answer["error"]["type"]) == (400, "illegal_argument_exception")


async def test_what_the_cluster_can_not_read_is_refused_in_its_words(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    path = f"/{searching.name}/_search"
    for body, chain in (
        ({"query": {"nope": {}}}, [{"only": {}}]),
        ({"query": {"match": {"t": {"nope": 1}}}}, [{"only": {}}]),
        (ALL, [{"only": {"keys": {"query": {"nope": {}}}}}]),
        (ALL, [{"only": {"keys": {"query": {"nope": {}}}}}, {"only": {}}]),
        (ALL, [{"script": {"lang": "painless", "source": "ctx._source.zz = 1"}}, {"only": {}}]),
    ):
        status, answer = await searching.call("POST", path, {**body, "search_pipeline": {"request_processors": chain}})
        assert status == 400
        assert "nope" in answer["error"]["reason"] or "Unsupported key: zz" in str(answer)
    ignored = {"script": {"lang": "painless", "source": "ctx._source.zz = 1", "ignore_failure": True}}
    assert ids(await run(searching, ALL, request=[ignored, {"only": {"filter": RED}}])) == ["0", "2", "3"]


async def test_failures_stop_the_search_unless_they_are_ignored(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    path = f"/{searching.name}/_search"
    for key, kind in (("request_processors", "only"), ("response_processors", "mark")):
        chain = {key: [{kind: {"fail": "broken"}}]}
        status, answer = await searching.call("POST", path, {**ALL, "search_pipeline": chain})
        assert (status, answer["error"]["reason"]) == (400, "broken")
    request = [{"only": {"fail": "broken", "ignore_failure": True}}, {"only": {"filter": RED}}]
    response = [{"mark": {"fail": "broken", "ignore_failure": True}}, *MARK]
    answer = await run(searching, ALL, request=request, response=response)
    assert (ids(answer), marks(answer)) == (["0", "2", "3"], [0, 1, 2])


async def test_a_source_that_the_cluster_can_not_read_is_its_writers_failure(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    for keys in ({"query": {"nope": {}}}, {"query": {"match": {"t": {"query": {}}}}}, {"size": "many"}):
        wrong = {"keys": keys, "ignore_failure": True}
        answer = await run(searching, ALL, request=[{"only": wrong}, {"only": {"filter": RED}}])
        assert ids(answer) == ["0", "2", "3"]
        assert ids(await run(searching, ALL, request=[{"only": wrong}])) == ["0", "1", "2", "3"]
        answer = await run(searching, ALL, request=[{"only": {"keys": keys}}], more="?verbose_pipeline=true")
        shown = answer["processor_results"]
        assert (ids(answer), [one["status"] for one in shown]) == (["0", "1", "2", "3"], ["fail"])


async def test_verbose_shows_the_source_as_the_client_knows_it(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    ext = {"ml_inference": {"k": "v"}}
    whole = {"only": {"source": {"query": {"term": {"color": "red"}}, "size": 1}}}
    native = {"filter_query": {"query": RED}}
    await searching.define(searching.name, [{"only": {}}, native])
    body = {**ALL, "ext": ext}
    more = f"?verbose_pipeline=true&search_pipeline={searching.name}"
    answer = await searching.ok("POST", f"/{searching.name}/_search{more}", body)
    for one in answer["processor_results"]:
        for source in (one["input_data"], one["output_data"]):
            assert (source["ext"], source["verbose_pipeline"], "search_pipeline" in source) == (ext, True, False)
    answer = await run(searching, body, request=[whole, native], more="?verbose_pipeline=true")
    first, second = answer["processor_results"]
    red = {"term": {"color": {"value": "red", "boost": 1.0}}}
    assert (first["input_data"]["ext"], first["input_data"]["search_pipeline"]) == (ext, {})
    assert first["output_data"] == second["input_data"] == {"size": 1, "query": red}
    assert sorted(second["output_data"]) == ["query", "size"]


async def test_verbose_shows_every_processor_in_order_and_ignores_failures(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    request = [
        {"filter_query": {"query": RED, "tag": "f"}}, {"only": {"fail": "broken"}}, {"only": {"tag": "o"}},
        {"oversample": {"sample_factor": 1}},
    ]  # fmt: skip
    response = [{"truncate_hits": {"target_size": 2}}, {"mark": {"fail": "bad"}}, *MARK]
    answer = await run(searching, ALL, request=request, response=response, more="?verbose_pipeline=true")
    shown = answer["processor_results"]
    assert [(one["processor_name"], one.get("tag"), one["status"], one.get("error")) for one in shown] == [
        ("filter_query", "f", "success", None), ("only", None, "fail", "broken"), ("only", "o", "success", None),
        ("oversample", None, "success", None), ("truncate_hits", None, "success", None), ("mark", None, "fail", "bad"),
        ("mark", None, "success", None),
    ]  # fmt: skip
    assert (ids(answer), marks(answer)) == (["0", "2"], [0, 1])
    assert shown[0]["output_data"]["query"]["bool"]["filter"] == [{"term": {"color": {"value": "red", "boost": 1.0}}}]
    assert (shown[1]["output_data"], shown[2]["input_data"]["search_pipeline"]) == (None, {})
    assert [hit["_id"] for hit in shown[4]["input_data"]] == ["0", "2", "3"]
    assert shown[6]["output_data"] == answer["hits"]["hits"]
    only = await run(searching, {**ALL, "verbose_pipeline": True}, response=MARK)
    assert [one["processor_name"] for one in only["processor_results"]] == ["mark"]


async def test_the_answer_is_shaped_after_the_last_processor(searching: SearchLane) -> None:
    await searching.fill(searching.name)

    async def shown(more: str, body: Any = ALL) -> Any:
        return await run(searching, body, response=MARK, more=more)

    assert (await shown("?filter_path=hits.hits._source.mark"))["hits"]["hits"][1] == {"_source": {"mark": 1}}
    plain = await shown("?rest_total_hits_as_int=true")
    assert (plain["hits"]["total"], marks(plain)) == (4, [0, 1, 2, 3])
    none = await shown("?rest_total_hits_as_int=true&track_total_hits=false")
    assert none["hits"]["total"] == -1
    typed = await shown("?typed_keys", {**ALL, "aggs": {"c": {"terms": {"field": "color"}}}})
    assert list(typed["aggregations"]) == ["sterms#c"]
    url = searching.client.make_url(f"/{searching.name}/_search?format=yaml")
    body = {**ALL, "search_pipeline": {"response_processors": MARK}}
    async with searching.client.session.post(url, json=body) as got:
        assert got.content_type == "application/yaml"
        assert json.loads((await got.text()).removeprefix("---\n"))["hits"]["total"]["value"] == 4
    for form, status in (("pretty", 200), ("format=cbor", 406)):
        url = searching.client.make_url(f"/{searching.name}/_search?{form}")
        async with searching.client.session.post(url, json=body) as got:
            assert got.status == status
            assert status != 200 or (await got.text()).startswith('{\n  "took" : ')


async def test_numbers_come_through_as_they_were(searching: SearchLane) -> None:
    source = '{"big":12345678901234567890123,"real":1.10,"tiny":1E-400}'
    mapping = {"mappings": {"enabled": False}}
    await searching.ok("PUT", f"/{searching.name}-m", mapping)
    url = searching.client.make_url(f"/{searching.name}-m/_doc/1?refresh=true")
    async with searching.client.session.put(url, data=source, headers={"Content-Type": "application/json"}) as put:
        assert put.status == 201
    url = searching.client.make_url(f"/{searching.name}-m/_search")
    async with searching.client.session.post(url, json={"search_pipeline": {"response_processors": MARK}}) as got:
        assert source[:-1] in await got.text()


async def test_template_queries_are_filled_from_the_context(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    body = {"query": {"template": {"terms": {"n": "${wanted}"}}}, "sort": ["n"]}
    chain = [{"only": {"attributes": {"wanted": [1, 2]}}}]
    assert ids(await run(searching, body, request=chain)) == ["1", "2"]
    assert ids(await run(searching, body, request=[*chain, {"oversample": {"sample_factor": 1}}])) == ["1", "2"]
    sized = {"query": {"template": {"term": {"n": "${original_size}"}}}, "size": 3}
    assert ids(await run(searching, sized, request=[{"oversample": {"sample_factor": 2}}, {"only": {}}])) == ["3"]
    path = f"/{searching.name}/_search"
    unknown = {"query": {"template": {"term": {"n": "${nope}"}}}, "search_pipeline": {"request_processors": chain}}
    status, answer = await searching.call("POST", path, unknown)
    assert (status, answer["error"]["reason"]) == (400, "Variable not found: nope")


async def test_sections_of_ext_that_nobody_reads_are_no_error(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    path = f"/{searching.name}/_search"
    assert ids(await searching.ok("POST", path, {**ALL, "ext": {"ml_inference": {"k": "v"}}})) == ["0", "1", "2", "3"]
    status, answer = await searching.call("POST", path, {**ALL, "ext": {"foo": {}, "rerank": {}}})
    assert (status, "foo" in answer["error"]["reason"]) == (400, True)


async def test_what_the_cluster_starts_by_itself_runs_the_rest(searching: SearchLane) -> None:
    name = searching.name
    await searching.define(name, [{"filter_query": {"query": RED}}, {"only": {"fail": "never here"}}], MARK)
    await searching.fill(name, name)
    assert ids(await searching.ok("POST", f"/{name}/_search", ALL, direct=True)) == ["0", "2", "3"]
    body = {"search_pipeline": name, **ALL}
    status, answer = await searching.call("POST", f"/_plugins/_asynchronous_search?index={name}", body)
    assert (status, "asynchronous" in answer["error"]["reason"]) == (400, True)


async def test_time_counts_until_the_search_is_done_and_no_longer(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    answer = await run(searching, ALL, request=[{"only": {"sleep": 0.4}}], response=[{"mark": {"sleep": 0.01}}])
    assert answer["took"] >= 400
    answer = await run(searching, ALL, response=[{"mark": {"sleep": 2}}])
    assert answer["took"] < 2000


async def test_a_search_gives_its_processors_the_time_it_has(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    chain = [{"only": {}}]
    # A `timeout` is for the query phase alone.
    timeouts = ({**ALL, "timeout": "20s"}, "?timeout=30s", None, None)
    for body, more, least, most in (timeouts, (ALL, "?cancel_after_time_interval=20s", 10, 20)):
        DEADLINES.clear()
        await run(searching, body, request=chain, more=more)
        left = None if DEADLINES[0] is None else DEADLINES[0] - asyncio.get_running_loop().time()
        assert left is None if least is None else least < (left or 0) <= most


async def test_a_client_that_goes_away_takes_its_processors_along(searching: SearchLane) -> None:
    await searching.fill(searching.name)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await run(searching, ALL, request=[{"only": {"sleep": 60}}])
    assert await asyncio.to_thread(CANCELLED.wait, 10)
    assert len(SEEN) == 1


async def test_neural_queries_work_inside_of_pipelines(searching: SearchLane) -> None:
    name = searching.name
    vector = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
    mappings = {"properties": {"v": vector, "color": {"type": "keyword"}}}
    await searching.ok("PUT", f"/{name}", {"settings": {"index.knn": True}, "mappings": mappings})
    for number, color in enumerate(("red", "green", "red")):
        status, _ = await searching.call(
            "PUT", f"/{name}/_doc/{number}?refresh=true", {"v": [number, 0.5], "color": color}
        )
        assert status == 201
    neural = {"neural": {"v": {"query_text": "ab", "model_id": "m", "k": 3}}}
    answer = await run(
        searching, {"query": neural}, request=[{"only": {"filter": RED}}], response=[{"mark": {"look": True}}]
    )
    assert (ids(answer), marks(answer)) == (["2", "0"], [0, 1])
    assert SEEN[0]["query"] == {"neural": {"v": {"query_text": "ab", "model_id": "m", "k": 3, "boost": 1.0}}}
    assert SEEN[1]["query"]["bool"]["must"][0] == SEEN[0]["query"]
