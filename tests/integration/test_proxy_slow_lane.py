"""The slow lane before a real OpenSearch with k-NN: what it writes and finds is what the cluster would."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bridge.domain.caller import Caller
from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors, TextDocsInput
from bridge.errors import NotFound
from bridge.pipelines.cache import PipelineCache
from bridge.processors.ingest import IngestServices
from bridge.proxy.slow.resolve import Resolver
from bridge.proxy.slow.routes import add_routes
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Upstream
from bridge.store.cluster import Cluster
from bridge.store.cluster_config import ClusterConfig
from bridge.store.indices import ensure_all
from bridge.store.stores import IndexNames, Stores

pytestmark = pytest.mark.integration

DIMENSION = 4
WORDS = ["red apple", "green pear", "blue car", "yellow sun", "black coffee", "white snow"]
MAPPINGS = {
    "dynamic": False,
    "properties": {
        "v": {
            "type": "knn_vector",
            "dimension": DIMENSION,
            "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"},
        },
        "title": {"type": "text"},
        "parts": {
            "type": "nested",
            "properties": {
                "vec": {
                    "type": "knn_vector",
                    "dimension": DIMENSION,
                    "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"},
                }
            },
        },
    },
}


def vector(text: str) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 256 for byte in digest[:DIMENSION]]


class Hashing:
    """Model `m`: every text has a vector of its own."""

    async def predict(
        self, model_id: str, input: TextDocsInput, *, deadline: float | None = None, caller: Caller | None = None
    ) -> MLOutput:
        if model_id != "m":
            raise NotFound(f"Failed to find model with the provided model id: {model_id}")
        tensors = [
            ModelTensor(name="sentence_embedding", data=np.array(vector(t), np.float32)) for t in input.text_docs
        ]
        return MLOutput(inference_results=tuple(ModelTensors(output=(tensor,)) for tensor in tensors))


@dataclass
class Lane:
    client: TestClient[Any, Any]
    cache: PipelineCache
    name: str
    cluster_url: str
    stores: Stores

    async def call(self, method: str, path: str, body: Any = None, *, direct: bool = False) -> tuple[int, Any]:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        lines = path.split("?", maxsplit=1)[0].endswith("_bulk")
        headers = {"Content-Type": "application/x-ndjson" if lines else "application/json"}
        url = self.cluster_url + path if direct else self.client.make_url(path)
        async with self.client.session.request(method, url, data=data, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def index(self, name: str, **settings: Any) -> None:
        more = {"index.knn": True, "number_of_shards": 1, "number_of_replicas": 0, **settings}
        status, answer = await self.call("PUT", f"/{name}", {"settings": more, "mappings": MAPPINGS})
        assert status == 200, answer

    async def define(self, name: str, *processors: Any, **more: Any) -> None:
        status, answer = await self.call("PUT", f"/_ingest/pipeline/{name}", {"processors": list(processors), **more})
        assert (status, answer) == (200, {"acknowledged": True})

    async def source(self, index: str, id: str) -> Any:
        return (await self.call("GET", f"/{index}/_doc/{id}", direct=True))[1]["_source"]


def embedding(**more: Any) -> dict[str, Any]:
    return {"text_embedding": {"model_id": "m", "field_map": {"title": "v"}, **more}}


@pytest.fixture
async def lane(cluster_url: str, index_prefix: str, user_index: str) -> AsyncIterator[Lane]:
    cluster = Cluster(ClusterConfig(urls=(cluster_url,)))
    names = IndexNames(index_prefix)
    await ensure_all(cluster, names)
    upstream = Upstream([cluster_url])
    model = Hashing()
    stores = Stores.on(cluster, names)
    cache = PipelineCache(stores.pipelines, IngestServices(predictor=model))
    services = SlowServices(upstream=upstream, pipelines=cache, resolver=Resolver(upstream), predictor=model)
    app = web.Application()
    add_routes(app, services)
    async with TestClient(TestServer(app)) as client:
        made = Lane(client, cache, user_index, cluster_url, stores)
        yield made
        await made.call("DELETE", f"/_ingest/pipeline/{user_index}*")
        await made.call("DELETE", f"/_index_template/{user_index}*")
    await upstream.close()
    await cluster.close()


async def test_neural_finds_and_scores_as_knn_with_the_same_vector(lane: Lane) -> None:
    name = lane.name
    await lane.define(name, embedding())
    await lane.index(name, default_pipeline=name)
    lines = [line for at, word in enumerate(WORDS) for line in ({"index": {"_id": str(at)}}, {"title": word})]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    status, answer = await lane.call("POST", f"/{name}/_bulk?refresh=true", body)
    assert (status, answer["errors"]) == (200, False)

    def queries(clause: Any) -> list[Any]:
        return [
            {"query": clause},
            {"query": {"bool": {"should": [clause, {"match": {"title": "pear"}}]}}},
            {"query": {"function_score": {"query": clause, "weight": 3}}, "size": 2},
            {"query": {"match_all": {}}, "post_filter": clause},
            {"query": {"match_all": {}}, "rescore": {"window_size": 5, "query": {"rescore_query": clause}}},
            {"query": {"match_all": {}}, "aggs": {"near": {"filter": clause}}},
        ]

    for more in (
        {"k": 3},
        {"k": 2, "filter": {"match": {"title": "car sun"}}},
        {"min_score": 0.5},
        {"k": 1, "boost": 2.0},
    ):
        neural = queries({"neural": {"v": {"query_text": "red fruit", "model_id": "m", **more}}})
        knn = queries({"knn": {"v": {"vector": vector("red fruit"), **more}}})
        for ours, theirs in zip(neural, knn, strict=True):
            status, found = await lane.call("POST", f"/{name}/_search", ours)
            assert status == 200, found
            _, expected = await lane.call("POST", f"/{name}/_search", theirs, direct=True)
            for part in ("hits", "aggregations"):
                assert found.get(part) == expected.get(part)
            assert "aggs" in ours or found["hits"]["hits"]
    count = queries({"neural": {"v": {"query_text": "red fruit", "model_id": "m", "k": 3}}})[0]
    assert (await lane.call("POST", f"/{name}/_count", count))[1]["count"] == 3


async def test_items_of_a_bulk_succeed_and_fail_each_by_itself(lane: Lane) -> None:
    name = lane.name
    native = {"set": {"field": "by", "value": "cluster"}}
    await lane.define(name, embedding(), native)
    await lane.index(name, default_pipeline=name)
    # Without vectors: k-NN writes the sources of its own indices anew.
    assert (await lane.call("PUT", f"/{name}-plain", {"mappings": {"dynamic": False}}))[0] == 200
    odd = b'{"n":12345678901234567890123,  "d":1.10, "title": "kept", "s":"\\u00e9"}'
    body = (
        b'{"index":{"_id":"1"}}\n{"title":"red apple","d":1.10}\n'
        b'{"index":{"_id":"2"}}\n{"title":5}\n'
        b'{"index":{"_id":"3","_index":"' + f"{name}-plain".encode() + b'"}}\n' + odd + b"\n"
        b'{"create":{"_id":"1"}}\n{"title":"again"}\n'
        b'{"delete":{"_id":"none"}}\n'
        b'{"index":{"_id":"4"}}\n{"title":"","v":[1,2]}\n'
    )
    status, answer = await lane.call("POST", f"/{name}/_bulk?refresh=true", body)
    assert status == 200
    results = [next(iter(item.items())) for item in answer["items"]]
    assert [(action, result["_id"], result["status"]) for action, result in results] == [
        ("index", "1", 201),
        ("index", "2", 400),
        ("index", "3", 201),
        ("create", "1", 409),
        ("delete", "none", 404),
        ("index", "4", 400),
    ]
    assert results[1][1]["error"] == {
        "type": "illegal_argument_exception",
        "reason": "map type field [title] is neither string nor nested type, cannot process it",
    }
    assert await lane.source(name, "1") == {"title": "red apple", "d": 1.1, "v": vector("red apple"), "by": "cluster"}
    async with lane.client.session.get(f"{lane.cluster_url}/{name}-plain/_source/3") as stored:
        assert await stored.read() == odd


async def test_every_way_to_a_default_pipeline(lane: Lane) -> None:
    name = lane.name
    await lane.define(name, embedding())
    await lane.index(f"{name}-new", default_pipeline=name)
    await lane.index(f"{name}-old")
    actions = [
        {"add": {"index": f"{name}-new", "alias": f"{name}-alias", "is_write_index": True}},
        {"add": {"index": f"{name}-old", "alias": f"{name}-alias"}},
    ]
    assert (await lane.call("POST", "/_aliases", {"actions": actions}))[0] == 200
    template = {
        "index_patterns": [f"{name}-made-*"],
        "template": {"settings": {"default_pipeline": name, "index.knn": True}, "mappings": MAPPINGS},
    }
    assert (await lane.call("PUT", f"/_index_template/{name}", template))[0] == 200
    for target in (f"{name}-new", f"{name}-alias", f"{name}-made-1"):
        for key in ("1", "2"):
            status, answer = await lane.call("PUT", f"/{target}/_doc/{key}", {"title": "red apple"})
            assert status in (200, 201), answer
            assert (await lane.source(target.replace("alias", "new"), key))["v"] == vector("red apple")
    await lane.call("PUT", f"/{name}-old/_doc/1", {"title": "red apple"})
    assert await lane.source(f"{name}-old", "1") == {"title": "red apple"}
    await lane.call("PUT", f"/{name}-old/_settings", {"index.default_pipeline": name})
    await lane.call("PUT", f"/{name}-old/_doc/1", {"title": "red apple"})
    assert (await lane.source(f"{name}-old", "1"))["v"] == vector("red apple")
    status, _ = await lane.call("PUT", f"/{name}-new/_doc/9?pipeline=_none", {"title": "red apple"})
    assert (status, await lane.source(f"{name}-new", "9")) == (201, {"title": "red apple"})


async def test_a_data_streams_template_counts(lane: Lane) -> None:
    name = lane.name
    await lane.define(name, embedding())
    template = {
        "index_patterns": [f"{name}-ds*"],
        "data_stream": {},
        "template": {"settings": {"default_pipeline": name, "index.knn": True}, "mappings": MAPPINGS},
    }
    assert (await lane.call("PUT", f"/_index_template/{name}", template))[0] == 200
    try:
        for at in range(2):
            document = {"title": "red apple", "@timestamp": f"2026-01-0{at + 1}"}
            status, answer = await lane.call("POST", f"/{name}-ds/_doc?refresh=true", document)
            assert status == 201, answer
            source = (await lane.call("GET", f"/{answer['_index']}/_doc/{answer['_id']}", direct=True))[1]["_source"]
            assert source["v"] == vector("red apple")
    finally:
        await lane.call("DELETE", f"/_data_stream/{name}-ds")


async def test_definitions_come_back_whole_and_leave_nothing_behind(lane: Lane) -> None:
    name = lane.name
    native = {"set": {"field": "by", "value": 1.5}}
    await lane.define(name, embedding(batch_size=3), native, description="d", version=7)
    whole = {"processors": [embedding(batch_size=3), native], "description": "d", "version": 7}
    rest = {"processors": [native], "description": "d", "version": 7}
    for path in (name, f"{name}*", f"{name},nothing"):
        assert await lane.call("GET", f"/_ingest/pipeline/{path}") == (200, {name: whole})
    assert await lane.call("GET", f"/_ingest/pipeline/{name}", direct=True) == (200, {name: rest})
    assert (await lane.call("GET", "/_ingest/pipeline"))[1][name] == whole
    assert await lane.call("DELETE", f"/_ingest/pipeline/{name}") == (200, {"acknowledged": True})
    assert await lane.call("GET", f"/_ingest/pipeline/{name}") == (404, {})
    status, answer = await lane.call("PUT", f"/_ingest/pipeline/{name}", {"processors": [embedding(), {"foo": {}}]})
    assert (status, answer["error"]["reason"]) == (400, "No processor type exists with name [foo]")
    assert lane.cache.names() == []


class Told:
    """Lane tables as they are published."""

    def __init__(self) -> None:
        self.tables: asyncio.Queue[list[str]] = asyncio.Queue()

    def publish(self, *, ingest_pipelines: list[str], search_pipelines: Any = None, words: Any = None) -> int:
        self.tables.put_nowait(ingest_pipelines)
        return 0


async def test_a_second_bridge_learns_of_a_pipeline_and_of_its_end(lane: Lane) -> None:
    told = Told()
    other = PipelineCache(lane.stores.pipelines, lane.cache.services, told, refresh_seconds=0.05)
    running = asyncio.ensure_future(other.run())
    async with asyncio.timeout(20):
        assert await told.tables.get() == []
        await lane.define(lane.name, embedding())
        assert await told.tables.get() == [lane.name]
        assert other.names() == [lane.name]
        await lane.call("DELETE", f"/_ingest/pipeline/{lane.name}")
        assert await told.tables.get() == []
        other.stop()
        await running


async def test_nested_parts_are_embedded_and_found(lane: Lane) -> None:
    name = lane.name
    await lane.define(name, {"text_embedding": {"model_id": "m", "field_map": {"parts": {"text": "vec"}}}})
    await lane.index(name, default_pipeline=name)
    await lane.call(
        "PUT", f"/{name}/_doc/1?refresh=true", {"parts": [{"text": "red apple"}, {"text": "blue car"}, {"z": 1}]}
    )
    parts = (await lane.source(name, "1"))["parts"]
    assert [part.get("vec") for part in parts] == [vector("red apple"), vector("blue car"), None]
    clause = {"neural": {"parts.vec": {"query_text": "blue car", "model_id": "m", "k": 2}}}
    status, found = await lane.call(
        "POST", f"/{name}/_search", {"query": {"nested": {"path": "parts", "query": clause}}}
    )
    assert (status, found["hits"]["hits"][0]["_id"]) == (200, "1"), found
    assert found["hits"]["max_score"] == pytest.approx(1.0)


async def test_simulate_shows_what_a_write_would_do(lane: Lane) -> None:
    pipeline = {"processors": [embedding(), {"set": {"field": "by", "value": "cluster"}}]}
    docs = [{"_index": "i", "_id": "1", "_source": {"title": "red apple"}}, {"_source": {"title": 5}}]
    status, answer = await lane.call("POST", "/_ingest/pipeline/_simulate", {"pipeline": pipeline, "docs": docs})
    assert status == 200, answer
    source = answer["docs"][0]["doc"]["_source"]
    assert source == {"title": "red apple", "v": vector("red apple"), "by": "cluster"}
    assert answer["docs"][1]["error"]["type"] == "illegal_argument_exception"


async def test_a_field_without_vectors_is_the_clusters_error(lane: Lane) -> None:
    await lane.index(lane.name)
    clause = {"neural": {"zz": {"query_text": "a", "model_id": "m", "k": 2}}}
    status, found = await lane.call("POST", f"/{lane.name}/_search", {"query": clause})
    assert (status, found["error"]["root_cause"][0]["reason"]) == (
        400,
        "failed to create query: Field 'zz' is not knn_vector type.",
    )


async def test_updates_embed_the_merged_document(lane: Lane) -> None:
    name = lane.name
    await lane.define(name, embedding(), {"set": {"field": "by", "value": "cluster"}})
    await lane.index(name, default_pipeline=name)
    path = f"/{name}/_update/1"
    status, answer = await lane.call(
        "POST", path, {"doc": {"title": "red apple", "m": {"a": 1}}, "doc_as_upsert": True}
    )
    assert (status, answer["result"]) == (201, "created"), answer
    status, answer = await lane.call("POST", path, {"doc": {"title": "blue car", "m": {"b": 2}}})
    assert (status, answer["result"]) == (200, "updated"), answer
    found = await lane.source(name, "1")
    assert found == {"title": "blue car", "m": {"a": 1, "b": 2}, "v": vector("blue car"), "by": "cluster"}
    status, answer = await lane.call("POST", path, {"doc": {"title": "blue car"}})
    assert (status, answer["result"]) == (200, "noop")
    assert (await lane.call("POST", f"/{name}/_update/2", {"doc": {"title": "x"}}))[0] == 404
    conflicts = [lane.call("POST", path, {"doc": {"title": word, "n": at}}) for at, word in enumerate(WORDS)]
    assert [status for status, _ in await asyncio.gather(*conflicts)] == [200] * len(WORDS)
    found = await lane.source(name, "1")
    assert (found["title"], found["v"]) == (WORDS[found["n"]], vector(WORDS[found["n"]]))


async def test_a_client_that_goes_away_leaves_no_half_stored_pipeline(lane: Lane) -> None:
    definition = {"processors": [embedding(), {"set": {"field": "by", "value": "cluster"}}]}
    going = asyncio.ensure_future(lane.call("PUT", f"/_ingest/pipeline/{lane.name}", definition))
    await asyncio.sleep(0)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    await lane.define(lane.name, *definition["processors"])
    assert (await lane.call("GET", f"/_ingest/pipeline/{lane.name}"))[1] == {lane.name: definition}
