"""Searches: rewritten where a neural query stands, passed through byte for byte elsewhere."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest
from slow_lane import SlowLane
from yarl import URL

from bridge.proxy.slow.normaliser import NOWHERE

FOUND = (200, b'{"took":1,"hits":{}}')


def neural(text: str = "abc", model: str = "m") -> dict[str, Any]:
    return {"query": {"neural": {"v": {"query_text": text, "model_id": model, "k": 2}}}}


KNN = {"query": {"knn": {"v": {"vector": [3.0, 0.5], "k": 2}}}}


@pytest.mark.parametrize("path", ["/i/_search", "/_search", "/i/_count", "/i/_validate/query", "/i/_explain/1"])
async def test_a_neural_query_becomes_knn(slow: SlowLane, path: str) -> None:
    slow.cluster.answers["POST", path] = FOUND
    answer = await slow.client.post(path + "?routing=a", json=neural())
    assert (answer.status, await answer.read()) == FOUND
    assert slow.cluster.last("POST", path).json() == KNN
    assert slow.cluster.last("POST", path).target == path + "?routing=a"


async def test_a_search_that_only_says_neural_keeps_its_bytes(slow: SlowLane) -> None:
    slow.cluster.answers["POST", "/i/_search"] = FOUND
    for body in (b'{"query" : {"match":{"neural":"x"}}, "n":1.10}', b'{"neural', b"query: neural"):
        await slow.client.post("/i/_search", data=body, headers={"Content-Type": "application/json"})
        assert slow.cluster.last("POST", "/i/_search").body == body


async def test_gzip_and_the_source_parameter_are_read(slow: SlowLane) -> None:
    slow.cluster.answers["POST", "/i/_search"] = slow.cluster.answers["GET", "/i/_search"] = FOUND
    packed = gzip.compress(json.dumps(neural()).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    await slow.client.post("/i/_search", data=packed, headers=headers)
    assert slow.cluster.last("POST", "/i/_search").json() == KNN
    source = quote(json.dumps(neural()))
    await slow.client.get(f"/i/_search?source={source}&source_content_type=application/json&size=3")
    seen = slow.cluster.last("GET", "/i/_search")
    assert (seen.json(), seen.target) == (KNN, "/i/_search?size=3")


async def test_an_unknown_model_is_the_searchs_error(slow: SlowLane) -> None:
    answer = await slow.client.post("/i/_search", json=neural(model="nope"))
    reason = "Failed to find model with the provided model id: nope"
    cause = {"type": "status_exception", "reason": reason}
    assert answer.status == 404
    assert await answer.json() == {"error": {"root_cause": [cause], **cause}, "status": 404}
    answer = await slow.client.post("/i/_validate/query", json=neural(model="nope"))
    assert (await answer.json())["explanations"] == [{"valid": False, "error": reason}]


async def test_items_of_a_multi_search_fail_alone(slow: SlowLane) -> None:
    slow.cluster.answers["POST", "/_msearch"] = (200, b'{"took":9,"responses":[{"n":1e400},{"b":2}]}')
    lines = [{}, neural(model="nope"), {}, {"query": {"match_all": {}}}, {"index": "i"}, neural()]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    answer = await slow.client.post("/_msearch", data=body, headers={"Content-Type": "application/x-ndjson"})
    sent = slow.cluster.last("POST", "/_msearch").body.splitlines()
    assert sent[:3] == [b"{}", b'{"query": {"match_all": {}}}', b'{"index": "i"}']
    assert json.loads(sent[3]) == KNN
    found = await answer.json()
    assert [r.get("status") for r in found["responses"]] == [404, None, None]
    assert found["responses"][0]["error"]["reason"] == "Failed to find model with the provided model id: nope"
    assert found["responses"][2] == {"b": 2}


async def test_a_multi_search_of_failures_asks_nobody(slow: SlowLane) -> None:
    body = f"{{}}\n{json.dumps(neural(model='nope'))}\n".encode()
    answer = await slow.client.post("/_msearch", data=body, headers={"Content-Type": "application/x-ndjson"})
    assert [r["status"] for r in (await answer.json())["responses"]] == [404]
    assert slow.cluster.seen == []


async def test_everything_else_is_passed_through(slow: SlowLane) -> None:
    slow.cluster.answers["PATCH", "/some/strange/path"] = (418, b"\x00teapot")
    url = URL(f"{str(slow.client.make_url('')).rstrip('/')}/some/strange/path?a=%2F&b=+", encoded=True)
    answer = await slow.client.session.patch(url, data=b"\x00\xff")
    assert (answer.status, await answer.read()) == (418, b"\x00teapot")
    assert answer.headers["Server"] == "fake cluster"
    seen = slow.cluster.last("PATCH", "/some/strange/path")
    assert (seen.body, seen.target) == (b"\x00\xff", "/some/strange/path?a=%2F&b=+")


async def test_a_cluster_that_is_away_is_a_clean_503(slow: SlowLane) -> None:
    slow.services.upstream._bases = ["http://127.0.0.1:1"]
    answer = await slow.client.post("/i/_search", json=neural())
    assert answer.status == 503
    assert "did not answer" in (await answer.json())["error"]["reason"]


async def test_what_stands_around_the_processors_of_an_inline_pipeline_is_the_clusters_to_judge(slow: SlowLane) -> None:
    ours = {"ml_inference": {"model_id": "m", "input_map": [{"a": "t"}], "output_map": [{"b": "c"}]}}
    refusal = {"error": {"type": "parse_exception", "reason": "zork"}, "status": 400}
    slow.cluster.answers["POST", NOWHERE] = (400, refusal)
    slow.cluster.answers["POST", "/i/_search"] = FOUND
    for key, value in (("zork", 1), ("description", 3), ("response_processors", "x")):
        chain = {"request_processors": [ours], key: value}
        answer = await slow.client.post("/i/_search", json={"search_pipeline": chain})
        assert (answer.status, await answer.json()) == (400, refusal)
        assert [one.json() for one in slow.cluster.seen] == [
            {"search_pipeline": {"request_processors": [], key: value}}
        ]
        slow.cluster.seen.clear()
    plain = {"search_pipeline": {"request_processors": [], "response_processors": [ours]}}
    assert (await slow.client.post("/i/_search", json=plain)).status == 200
    assert slow.cluster.count("POST", NOWHERE) == 0
