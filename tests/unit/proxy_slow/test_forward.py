"""What changes which pipeline applies where: forgotten before the client reads that it is done."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from aiohttp import web
from slow_lane import SlowLane

PATH = "/i/_settings"
DONE = (200, {"acknowledged": True})


@pytest.mark.parametrize(("method", "path"), [("PUT", PATH), ("POST", "/_aliases"), ("DELETE", "/i")])
async def test_what_was_remembered_is_forgotten_before_the_answer(
    slow: SlowLane, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    order: list[str] = []
    prepare, publish = web.StreamResponse.prepare, slow.lanes.publish

    async def prepared(response: web.StreamResponse, request: web.BaseRequest) -> Any:
        order.append("answer" if request.url.port == slow.client.port else "cluster")
        return await prepare(response, request)

    def published(**given: Any) -> int:
        order.append("published")
        return publish(**given)

    monkeypatch.setattr(web.StreamResponse, "prepare", prepared)
    monkeypatch.setattr(slow.lanes, "publish", published)
    slow.cluster.answers[method, path] = DONE
    answer = await slow.client.request(method, path, json={"index.search.default_pipeline": "p"})
    assert (answer.status, await answer.json()) == DONE
    assert order == ["cluster", "published", "answer"]


async def test_it_is_forgotten_too_where_no_answer_comes(slow: SlowLane) -> None:
    slow.services.upstream._bases = ["http://127.0.0.1:1"]
    assert (await slow.client.put(PATH, json={})).status == 503
    assert slow.lanes.published == [[]]


async def test_the_bytes_and_the_refusal_pass_as_they_are(slow: SlowLane) -> None:
    slow.cluster.answers["PUT", PATH] = (400, b'{"error" : 1.10}')
    body = b'{"index.search.default_pipeline" : "p"}'
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    answer = await slow.client.put(f"{PATH}?preserve_existing=true", data=gzip.compress(body), headers=headers)
    assert (answer.status, await answer.read()) == (400, b'{"error" : 1.10}')
    assert answer.headers["Content-Encoding"] == "gzip"
    seen = slow.cluster.last("PUT", PATH)
    assert (seen.body, seen.target) == (body, f"{PATH}?preserve_existing=true")
    slow.cluster.answers["DELETE", "/i"] = DONE
    assert (await slow.client.delete("/i")).status == 200
    assert slow.cluster.last("DELETE", "/i").body == b""
