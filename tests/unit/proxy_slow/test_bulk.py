"""Bulk writes: what is ours is embedded together, what is not keeps its bytes, failures stay with their items."""

from __future__ import annotations

from typing import Any

from slow_lane import SlowLane, embedding

from bridge.errors import InvalidRequest, Unavailable
from bridge.wire import loads


def bulk_answer(one: Any) -> tuple[int, Any]:
    """What a cluster answers when it takes every item."""
    items, lines = [], one.body.decode().splitlines()
    while lines:
        action, meta = next(iter(loads(lines.pop(0)).items()))
        if action != "delete":
            lines.pop(0)
        items.append({action: {"_index": meta.get("_index", "i"), "_id": meta.get("_id"), "status": 201}})
    return 200, {"took": 3, "errors": False, "items": items}


async def post(slow: SlowLane, body: bytes, target: str = "/i/_bulk") -> Any:
    slow.cluster.answers["POST", target.split("?", maxsplit=1)[0]] = bulk_answer
    answer = await slow.client.post(target, data=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_without_pipelines_of_ours_the_body_is_passed_through(slow: SlowLane) -> None:
    body = b'{"index":{"_id":"1"}}\n{"title" : 1.10}\n'
    assert (await post(slow, body))["errors"] is False
    assert slow.cluster.last("POST", "/i/_bulk").body == body
    assert slow.cluster.count("GET", "/i") == 0


async def test_items_are_embedded_in_one_call_and_others_keep_their_bytes(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.index("other")
    body = (
        b'{"index":{"_id":"1"}}\n{"n":1e400,"title":"three"}\n'
        b'{"index": {"_index":"other","_id":"2"}}\n{"title" : 1.10}\n'
        b'{"delete":{"_id":"3"}}\n'
        b'{"update":{"_id":"4"}}\n{"doc" : {"title":"x"}}\n'
        b'{"create":{"_id":"5"}}\n{"title":"a"}\n'
        b'{"index":{"_id":"6","pipeline":"_none"}}\n{"title": "kept"}\n'
        b'{"index":{"_id":"7"}}\n{"none" :  1}\n'
    )
    answer = await post(slow, body)
    assert slow.cluster.last("POST", "/i/_bulk").body == (
        b'{"index":{"_id":"1"}}\n{"n":1e400,"title":"three","v":[5.0,0.5]}\n'
        b'{"index": {"_index":"other","_id":"2"}}\n{"title" : 1.10}\n'
        b'{"delete":{"_id":"3"}}\n'
        b'{"update":{"_id":"4"}}\n{"doc" : {"title":"x"}}\n'
        b'{"create":{"_id":"5"}}\n{"title":"a","v":[1.0,0.5]}\n'
        b'{"index":{"_id":"6","pipeline":"_none"}}\n{"title": "kept"}\n'
        b'{"index":{"_id":"7"}}\n{"none" :  1}\n'
    )
    assert [call.text_docs for call in slow.model.calls] == [("a", "three")]
    assert len(answer["items"]) == 7


async def test_failed_items_are_not_sent_and_stand_at_their_places(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.model.bad["bad"] = InvalidRequest("no such luck")
    body = (
        b'{"index":{"_id":"1"}}\n{"title":5}\n'
        b'{"index":{"_id":"2"}}\n{"title":"good"}\n'
        b'{"create":{"_id":"3"}}\n{"title":"bad"}\n'
        b'{"delete":{"_id":"4"}}\n'
        b'{"index":{"_id":"5"}}\n{"title":\n'
    )
    answer = await post(slow, body)
    sent = slow.cluster.last("POST", "/i/_bulk").body
    assert sent == b'{"index":{"_id":"2"}}\n{"title":"good","v":[4.0,0.5]}\n{"delete":{"_id":"4"}}\n'
    assert answer["errors"] is True
    assert [next(iter(item.values()))["_id"] for item in answer["items"]] == ["1", "2", "3", "4", "5"]
    assert answer["items"][0]["index"] == {
        "_index": "i",
        "_id": "1",
        "status": 400,
        "error": {
            "type": "illegal_argument_exception",
            "reason": "map type field [title] is neither string nor nested type, cannot process it",
        },
    }
    assert answer["items"][2]["create"]["error"] == {"type": "illegal_argument_exception", "reason": "no such luck"}
    assert answer["items"][4]["index"]["error"]["type"] == "parse_exception"


async def test_when_all_items_fail_nothing_is_sent(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.model.bad = {"a": Unavailable("down"), "bb": Unavailable("down")}
    answer = await post(slow, b'{"index":{}}\n{"title":"a"}\n{"index":{}}\n{"title":"bb"}\n')
    assert slow.cluster.count("POST", "/i/_bulk") == 0
    assert [item["index"]["status"] for item in answer["items"]] == [503, 503]
    assert len(slow.model.calls) == 1


async def test_the_pipeline_of_the_item_beats_the_urls_which_beats_the_indexs(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    await slow.define("q", {"text_embedding": {"model_id": "m", "field_map": {"title": "w"}}})
    slow.index("i", default_pipeline="p")
    body = b'{"index":{"pipeline":"p"}}\n{"title":"a"}\n{"index":{}}\n{"title":"a"}\n'
    await post(slow, body, "/i/_bulk?pipeline=q")
    lines = slow.cluster.last("POST", "/i/_bulk").body.splitlines()
    assert lines[1] == b'{"title":"a","v":[1.0,0.5]}'
    assert lines[3] == b'{"title":"a","w":[1.0,0.5]}'


async def test_a_malformed_body_is_the_clusters_to_answer(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["POST", "/i/_bulk"] = (400, {"error": "malformed", "status": 400})
    for body in (b'{"index":{}}\n{"title":"a"}', b'{"what":{}}\n{}\n', b'{"index":{}}\n', b"x\n"):
        answer = await slow.client.post("/i/_bulk", data=body)
        assert (answer.status, (await answer.json())["error"]) == (400, "malformed")
        assert slow.cluster.last("POST", "/i/_bulk").body == body
    assert slow.model.calls == []


async def test_a_refused_bulk_is_passed_on_as_it_is(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["POST", "/i/_bulk"] = (403, b'{"error":"no right"}')
    answer = await slow.client.post("/i/_bulk", data=b'{"index":{}}\n{"title":"a"}\n{"index":{}}\n{"title":5}\n')
    assert (answer.status, await answer.read()) == (403, b'{"error":"no right"}')
