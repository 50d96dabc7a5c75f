"""Where the body of a search stands, and what the request has to say of it: the cluster refuses anything else."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from slow_lane import SlowLane
from yarl import URL

from bridge.proxy.slow.multi_search import pairs_of
from bridge.proxy.slow.search import parsed_source

MARK: dict[str, Any] = {"rerank": {"by_field": {"target_field": "n"}}}
FOUND = {
    "took": 1,
    "hits": {
        "max_score": 1.0,
        "hits": [{"_id": k, "_score": 1.0, "_source": {"n": n}} for k, n in (("a", 1), ("b", 2))],
    },
}
JSON = {"Content-Type": "application/json"}
REFUSED = (400, {"error": "the cluster's own words", "status": 400})
Q = json.dumps({"query": {"match_all": {}}})
RERANKED = [2.0, 1.0]


@pytest.fixture
async def piped(slow: SlowLane) -> SlowLane:
    """A lane with pipeline `p`, the default of index `i`."""
    slow.cluster.answers["PUT", "/_search/pipeline/p"] = (200, {"acknowledged": True})
    assert (await slow.client.put("/_search/pipeline/p", json={"response_processors": [MARK]})).status == 200
    found = (200, {"i": {"settings": {"index.search.default_pipeline": "p"}}})
    settings = "/i/_settings/index.search.default_pipeline,index.verified_before_close"
    slow.cluster.answers["GET", settings] = found
    slow.cluster.answers["POST", "/i/_search"] = (200, FOUND)
    slow.cluster.answers["POST", "/_msearch"] = (200, {"took": 1, "responses": [{**FOUND, "status": 200}]})
    slow.cluster.answers["POST", "/_render/template"] = (200, {"template_output": json.loads(Q)})
    return slow


async def asked(slow: SlowLane, method: str, target: str, data: Any = None, **headers: str) -> tuple[int, Any]:
    url = URL(f"{str(slow.client.make_url('')).rstrip('/')}{target}", encoded=True)
    skipped = ("Content-Type",)
    async with slow.client.session.request(method, url, data=data, headers=headers, skip_auto_headers=skipped) as got:
        return got.status, await got.json()


def scores(answer: Any) -> list[float]:
    return [hit["_score"] for hit in answer["hits"]["hits"]]


@pytest.mark.parametrize(
    ("path", "body", "kind", "sent"),
    [
        ("/i/_search", Q, "application/json", "/i/_search"),
        ("/i/_search/template", json.dumps({"source": {}}), "application/json", "/i/_search"),
        ("/_msearch", '{"index":"i"}\n' + Q + "\n", "application/x-ndjson", "/_msearch"),
        ("/_msearch/template", '{"index":"i"}\n{"source":{}}\n', "application/x-ndjson", "/_msearch"),
    ],
)
async def test_a_body_in_the_url_is_read_everywhere(
    piped: SlowLane, path: str, body: str, kind: str, sent: str
) -> None:
    status, answer = await asked(piped, "GET", f"{path}?source={quote(body)}&source_content_type={kind}")
    assert (status, scores(answer.get("responses", [answer])[0])) == (200, RERANKED)
    assert "source" not in piped.cluster.last("POST", sent).target


@pytest.mark.parametrize(
    ("method", "target", "body", "headers"),
    [
        ("POST", "/i/_search", Q, {}),
        ("POST", "/i/_search", Q, {"Content-Type": "text/plain"}),
        ("POST", "/i/_search", " ", JSON),
        ("POST", "/i/_search?source=%7B%7D&source_content_type=application/json", Q, JSON),
        ("POST", "/i/_search?source_content_type=application/json", Q, JSON),
        ("GET", "/i/_search?source=%7B%7D", None, {}),
        ("GET", "/i/_search?source=%7B%7D&source_content_type=zork", None, {}),
        ("GET", "/i/_search?source=&source_content_type=application/json", None, {}),
        ("GET", "/i/_search?q=%zz", None, {}),
        ("POST", "/i/_search", '{"verbose_pipeline":1}', JSON),
        ("POST", "/i/_search", '{"verbose_pipeline":"zork"}', JSON),
        ("POST", "/i/_search/template", '{"source":{},"zork":1}', JSON),
        ("POST", "/i/_search/template", '{"source":{},"explain":1}', JSON),
        ("POST", "/i/_search/template", '{"source":{}}', {"Content-Type": "text/plain"}),
        ("POST", "/_msearch", '{"index":"i"}\n' + Q, JSON),
        ("POST", "/_msearch", '{"index":"i"}\n' + Q + "\n", {"Content-Type": "text/plain"}),
        ("POST", "/_msearch/template", '{"index":"i"}\n{"source":{},"zork":1}\n', JSON),
    ],
)
async def test_what_the_cluster_refuses_reaches_it_as_it_came(
    piped: SlowLane, method: str, target: str, body: str | None, headers: dict[str, str]
) -> None:
    path = target.partition("?")[0]
    piped.cluster.answers[method, path] = REFUSED
    assert await asked(piped, method, target, body, **headers) == REFUSED
    seen = piped.cluster.last(method, path)
    assert (seen.target, seen.body) == (target, (body or "").encode())
    assert seen.headers.get("Content-Type") == headers.get("Content-Type")


@pytest.mark.parametrize("target", ["/i/_search", "/i/_search/template"])
async def test_another_kind_of_body_is_no_search_without_its_pipeline(piped: SlowLane, target: str) -> None:
    piped.cluster.answers["POST", target] = (200, FOUND)
    kind = {"Content-Type": "application/yaml"}
    assert (await asked(piped, "POST", target, "query:\n  match_all: {}\n", **kind))[0] == 406
    assert (await asked(piped, "POST", target, "query:\n  match_all: {}\n", **JSON))[0] == 400


@pytest.mark.parametrize("target", ["/i/_search?pretty=1", "/i/_search?verbose_pipeline=zork", "/_msearch?pretty=1"])
async def test_flags_that_only_the_bridge_sees_are_judged_here(piped: SlowLane, target: str) -> None:
    body = Q if "msearch" not in target else '{"index":"i"}\n' + Q + "\n"
    before = len(piped.cluster.seen)
    status, answer = await asked(piped, "POST", target, body, **JSON)
    assert (status, answer["error"]["type"]) == (400, "illegal_argument_exception")
    assert not [one for one in piped.cluster.seen[before:] if one.method == "POST"]


@pytest.mark.parametrize("path", ["/i/_search", "/i/_search/template", "/_msearch"])
async def test_an_answer_is_coded_as_the_client_accepts_it(piped: SlowLane, path: str) -> None:
    body = {"/i/_search": Q, "/_msearch": '{"index":"i"}\n' + Q + "\n"}.get(path, '{"source":{}}')
    for accepted, coding in (("gzip", "gzip"), ("identity", None)):
        headers = {**JSON, "Accept-Encoding": accepted}
        async with piped.client.session.post(piped.client.make_url(path), data=body, headers=headers) as got:
            answer = await got.json()
            assert (got.status, got.headers.get("Content-Encoding")) == (200, coding)
            assert scores(answer.get("responses", [answer])[0]) == RERANKED


@pytest.mark.parametrize(("text", "expected"), [('"true"', True), ('"false"', False), ('""', False), ("true", True)])
def test_a_flag_may_be_a_text(text: str, expected: bool) -> None:
    assert parsed_source(f'{{"verbose_pipeline":{text}}}'.encode()) == {"verbose_pipeline": expected}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}\n{}\n", 1), (b"\n{}\n{}\n", 1), (b"{}\n{}\n\n", 1), (b"{}\n{}\n \n", 1), (b"{}\n{}\n{}\n", 1),
        (b"{}\r\n{}\r\n", 1), (b"\n{}\n", None), (b"{}\n{}", None), (b"{}\n{}\n  ", None), (b"{}\n{}\nx\n", None),
        (b"", None), (b"\n", None),
    ],
)  # fmt: skip
def test_lines_are_taken_apart_as_the_cluster_does(body: bytes, expected: int | None) -> None:
    found = pairs_of(body)
    assert (None if found is None else len(found)) == expected
