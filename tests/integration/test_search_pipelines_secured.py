"""Searches through pipelines of ours by a user who may search one index and nothing else."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from search_lane import mark
from server_fixtures import Cluster
from slow_lane import FakeModel

from bridge.domain.pipeline import StoredPipeline
from bridge.pipelines.cache import PipelineCache
from bridge.processors.ingest import IngestServices
from bridge.processors.registry import RESPONSE
from bridge.proxy.slow.normaliser import NOWHERE
from bridge.proxy.slow.resolve import Resolver
from bridge.proxy.slow.routes import add_routes
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Upstream
from bridge.store.cluster import Cluster as Store
from bridge.store.cluster_config import ClusterConfig
from bridge.store.in_memory import InMemoryDocuments

pytestmark = pytest.mark.integration

PASSWORD = "Xq7!mkzt-Lane"
SECURITY = "/_plugins/_security/api"


@pytest.fixture
async def secured(
    secured_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[TestClient[Any, Any], str, Cluster]]:
    """A slow lane before the secured cluster, and a name: the user NAME may search the index NAME."""
    monkeypatch.setitem(RESPONSE, "mark", mark)
    name = f"t{uuid4().hex[:10]}"
    _prepare(secured_cluster, name)
    config = ClusterConfig(
        urls=(secured_cluster.url,), user=secured_cluster.user, password=secured_cluster.password,
        ca=secured_cluster.ca_file,
    )  # fmt: skip
    store = Store(config)
    upstream = Upstream([secured_cluster.url], tls=config.tls())
    cache = PipelineCache(InMemoryDocuments(StoredPipeline), IngestServices(predictor=FakeModel()))

    async def own(method: str, target: str) -> tuple[int, Any]:
        answer = await store.attempt(method, target)
        return answer.status, answer.body

    resolver = Resolver(upstream, own=own)
    app = web.Application()
    add_routes(app, SlowServices(upstream=upstream, pipelines=cache, resolver=resolver, predictor=FakeModel()))
    async with TestClient(TestServer(app)) as client:
        yield client, name, secured_cluster
    for path in (
        f"/{name}*",
        f"/_search/pipeline/{name}*",
        f"{SECURITY}/internalusers/{name}",
        f"{SECURITY}/roles/{name}",
    ):
        secured_cluster.request("DELETE", path)
    await upstream.close()
    await store.close()


def _prepare(cluster: Cluster, name: str) -> None:
    role = {"index_permissions": [{"index_patterns": [name], "allowed_actions": ["read"]}]}
    for path, body in (
        (f"{SECURITY}/internalusers/{name}", {"password": PASSWORD}),
        (f"{SECURITY}/roles/{name}", role),
        (f"{SECURITY}/rolesmapping/{name}", {"users": [name]}),
        (f"/{name}", {"settings": {"number_of_replicas": 0, "index.search.default_pipeline": name}}),
        (f"/{name}/_doc/1?refresh=true", {"t": "a", "color": "red"}),
        (f"/{name}-other", {}),
    ):
        status, answer = cluster.request("PUT", path, body)
        assert status in (200, 201), answer


async def test_a_user_with_rights_on_one_index_searches_it_through_its_pipeline(
    secured: tuple[TestClient[Any, Any], str, Cluster],
) -> None:
    client, name, cluster = secured

    async def call(method: str, path: str, body: Any, user: str, password: str) -> tuple[int, Any]:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        async with client.request(method, path, json=body, headers={"Authorization": f"Basic {pair}"}) as answer:
            return answer.status, await answer.json(content_type=None)

    admin, user = (cluster.user, cluster.password), (name, PASSWORD)
    # This node has none of the native processors, so there is no normal form to be had.
    definition = {"response_processors": [{"mark": {}}]}
    assert (await call("POST", NOWHERE, {"query": {"match_all": {}}}, *user))[0] == 200
    assert (await call("PUT", f"/_search/pipeline/{name}", definition, *user))[0] == 403
    assert await call("PUT", f"/_search/pipeline/{name}", definition, *admin) == (200, {"acknowledged": True})
    body = {"query": {"match": {"t": "a"}}}
    status, answer = await call("POST", f"/{name}/_search", body, *user)
    assert (status, answer["hits"]["hits"][0]["_source"]["mark"]) == (200, 0)
    assert (await call("POST", f"/{name}-other/_search", {**body, "search_pipeline": name}, *user))[0] == 403
    async with aiohttp.ClientSession() as session:
        assert (await session.post(client.make_url(f"/{name}/_search"), json=body)).status == 401
    assert (await call("DELETE", f"/_search/pipeline/{name}", None, *user))[0] == 403
    assert (await call("DELETE", f"/_search/pipeline/{name}", None, *admin))[0] == 200
