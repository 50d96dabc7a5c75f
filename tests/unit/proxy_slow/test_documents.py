"""Single writes, and what the front door learns from them."""

from __future__ import annotations

import gzip

import pytest
from slow_lane import SlowLane, embedding

from bridge.errors import NotFound, TooManyRequests
from bridge.proxy.slow.resolve import Applied, Resolver

CREATED = (201, {"result": "created"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/i/_doc/1"),
        ("POST", "/i/_doc/1"),
        ("POST", "/i/_doc"),
        ("PUT", "/i/_create/1"),
        ("POST", "/i/_create/1"),
    ],
)
async def test_a_document_is_embedded_by_the_indexs_default(slow: SlowLane, method: str, path: str) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers[method, path] = CREATED
    answer = await slow.client.request(method, path + "?refresh=true", data=b'{"x":1.0,"title":"ab"}')
    assert answer.status == 201
    assert "x-bridge-clear" not in answer.headers
    assert slow.cluster.last(method, path).body == b'{"x":1.0,"title":"ab","v":[2.0,0.5]}'
    assert slow.cluster.last(method, path).target.endswith("?refresh=true")


async def test_templates_tell_for_an_index_that_is_not_there(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.cluster.answers["POST", "/_index_template/_simulate_index/i"] = (
        200,
        {"template": {"settings": {"index": {"default_pipeline": "p"}}}},
    )
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}')
    assert slow.cluster.last("PUT", "/i/_doc/1").json() == {"title": "ab", "v": [2.0, 0.5]}


async def test_old_templates_count_by_their_order(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.cluster.answers["POST", "/_index_template/_simulate_index/i-1"] = (200, {})
    slow.cluster.answers["GET", "/_template"] = (
        200,
        {
            "b": {"order": 2, "index_patterns": ["i-*"], "settings": {"index": {"default_pipeline": "p"}}},
            "a": {"order": 1, "index_patterns": ["*"], "settings": {"index": {"default_pipeline": "z"}}},
        },
    )
    slow.cluster.answers["PUT", "/i-1/_doc/1"] = CREATED
    await slow.client.put("/i-1/_doc/1", data=b'{"title":"ab"}')
    assert "v" in slow.cluster.last("PUT", "/i-1/_doc/1").json()


async def test_an_alias_means_its_write_index(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.cluster.answers["GET", "/al"] = (
        200,
        {
            "one": {"aliases": {"al": {"is_write_index": True}}, "settings": {"index": {"default_pipeline": "p"}}},
            "two": {"aliases": {"al": {}}, "settings": {"index": {"default_pipeline": "z"}}},
        },
    )
    slow.cluster.answers["PUT", "/al/_doc/1"] = CREATED
    await slow.client.put("/al/_doc/1", data=b'{"title":"ab"}')
    assert "v" in slow.cluster.last("PUT", "/al/_doc/1").json()


async def test_a_clear_index_is_reported_and_asked_for_once(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i")
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    body = b'{"title" : "ab",  "n":1e400}'
    for _ in range(3):
        answer = await slow.client.put("/i/_doc/1", data=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        assert (answer.status, answer.headers["x-bridge-clear"]) == (201, "5")
        assert slow.cluster.last("PUT", "/i/_doc/1").body == body
    assert slow.cluster.count("GET", "/i") == 1
    slow.cluster.answers["PUT", "/i/_settings"] = (200, {})
    published = len(slow.lanes.published)
    await slow.client.put("/i/_settings", json={})
    assert len(slow.lanes.published) == published + 1
    slow.index("i", default_pipeline="p")
    answer = await slow.client.put("/i/_doc/1", data=body)
    assert "x-bridge-clear" not in answer.headers
    assert slow.model.calls


async def test_none_and_other_names_switch_the_default_off(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    for name in ("_none", "unknown"):
        answer = await slow.client.put(f"/i/_doc/1?pipeline={name}", data=b'{"title": "ab"}')
        assert "x-bridge-clear" not in answer.headers
        assert slow.cluster.last("PUT", "/i/_doc/1").body == b'{"title": "ab"}'
    assert slow.model.calls == []


async def test_final_pipelines_run_after_the_default_also_with_none(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    await slow.define("f", {"text_embedding": {"model_id": "m", "field_map": {"title": "f"}}})
    slow.index("i", default_pipeline="p", final_pipeline="f")
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}')
    assert list(slow.cluster.last("PUT", "/i/_doc/1").json()) == ["title", "v", "f"]
    await slow.client.put("/i/_doc/1?pipeline=_none", data=b'{"title":"ab"}')
    assert list(slow.cluster.last("PUT", "/i/_doc/1").json()) == ["title", "f"]
    answer = await slow.client.put("/i/_doc/1?pipeline=native", data=b'{"title":"ab"}')
    assert answer.status == 400
    assert "order could not be kept" in (await answer.json())["error"]["reason"]


@pytest.mark.parametrize("error", [NotFound("Failed to find model"), TooManyRequests("full")])
async def test_a_models_failure_is_the_answer_and_nothing_is_written(slow: SlowLane, error: NotFound) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.model.bad["ab"] = error
    answer = await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}')
    assert (answer.status, (await answer.json())["error"]["reason"]) == (error.status, error.reason)
    assert slow.cluster.count("PUT", "/i/_doc/1") == 0


async def test_unreadable_documents_get_the_real_servers_words(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    answer = await slow.client.put("/i/_doc/1", data=b'{"title":')
    assert (answer.status, (await answer.json())["error"]["reason"]) == (400, "Failed to parse content to map")
    answer = await slow.client.put("/i/_doc/1")
    assert (answer.status, (await answer.json())["error"]["reason"]) == (400, "request body is required")


async def test_the_callers_own_credentials_go_along_and_nothing_else(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    headers = {"Authorization": "Basic abc", "Cookie": "c=1", "X-Opaque-Id": "7", "Connection": "x-hop", "X-Hop": "1"}
    await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}', headers=headers)
    for one in (slow.cluster.last("PUT", "/i/_doc/1"), slow.cluster.last("GET", "/i")):
        assert one.headers["Authorization"] == "Basic abc"
        assert one.headers["Cookie"] == "c=1"
        assert one.headers["X-Opaque-Id"] == "7"
        assert "X-Hop" not in one.headers


async def test_unchanged_texts_are_not_embedded_again_when_told_so(slow: SlowLane) -> None:
    pipeline = {"text_embedding": {"model_id": "m", "field_map": {"a": "av", "b": "bv"}, "skip_existing": True}}
    await slow.define("p", pipeline)
    slow.index("i", default_pipeline="p")
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    slow.cluster.answers["GET", "/i/_doc/1"] = (200, b'{"_source":{"a":"x","av":[0.25,1.50],"b":"old","bv":[9]}}')
    await slow.client.put("/i/_doc/1", data=b'{"a":"x","b":"new"}')
    assert slow.cluster.last("PUT", "/i/_doc/1").body == b'{"a":"x","b":"new","av":[0.25,1.50],"bv":[3.0,0.5]}'
    assert [call.text_docs for call in slow.model.calls] == [("new",)]


async def test_a_caller_who_may_write_but_not_read_settings_is_looked_up_for(slow: SlowLane) -> None:
    asked = []

    async def own(method: str, target: str) -> tuple[int, dict[str, object]]:
        asked.append((method, target))
        return 200, {"i": {"settings": {"index": {"default_pipeline": "p"}}}}

    await slow.define("p", embedding())
    slow.cluster.answers["GET", "/i"] = (403, {"error": "no right"})
    slow.cluster.answers["PUT", "/i/_doc/1"] = CREATED
    answer = await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}')
    assert (answer.status, slow.cluster.count("PUT", "/i/_doc/1")) == (403, 0)
    resolver = Resolver(slow.services.upstream, own=own)
    assert await resolver.applied("i", {"Authorization": "x"}) == Applied("p")
    assert await resolver.applied("i", {"Authorization": "x"}) == Applied("p")
    [(method, target)] = asked
    assert method == "GET"
    assert target.startswith("/i?filter_path=*.settings.index.default_pipeline,")


async def test_a_stranger_gets_the_clusters_own_401_and_no_model(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.cluster.answers["GET", "/i"] = (401, b"Unauthorized")
    slow.cluster.answers["PUT", "/i/_doc/1"] = (401, b"Unauthorized")
    answer = await slow.client.put("/i/_doc/1", data=b'{"title":"ab"}')
    assert (answer.status, await answer.read()) == (401, b"Unauthorized")
    assert slow.model.calls == []


async def test_a_body_that_is_not_what_it_says_ends_its_connection(slow: SlowLane) -> None:
    await slow.define("p", embedding())
    slow.index("i", default_pipeline="p")
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await slow.client.put("/i/_doc/1", data=b"\x1f\x8bzork", headers=headers)
    assert answer.status == 400
    assert (await answer.json())["error"]["reason"] == "the request body cannot be read in its Content-Encoding"
    # Whoever keeps connections must not take this one for his next request.
    assert answer.headers["Connection"] == "close"
