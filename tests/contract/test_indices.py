"""The system indices on a real cluster: made once, upgraded in place, never downgraded, refused where not allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.errors import Conflict, Forbidden
from bridge.store.cluster import Cluster, ClusterConfig, ClusterInfo
from bridge.store.indices import (
    TEMPLATES,
    Template,
    check_access,
    check_prefix,
    ensure,
    ensure_all,
    load_template,
    stored_version,
)
from bridge.store.stores import DEFAULT_PREFIX, IndexNames

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture
async def client(cluster_url: str) -> AsyncIterator[Cluster]:
    opened = Cluster(ClusterConfig(urls=(cluster_url,)))
    yield opened
    await opened.close()


async def test_several_bridges_start_at_once(client: Cluster, index_prefix: str) -> None:
    names = IndexNames(index_prefix)
    await asyncio.gather(*(ensure_all(client, names) for _ in range(3)))
    await ensure_all(client, names)
    for name in TEMPLATES:
        template = load_template(name)
        answer = await client.request("GET", f"/{names.of(name)}")
        (made,) = answer.body.values()
        assert made["mappings"]["_meta"] == template.mappings["_meta"]
        assert set(made["mappings"]["properties"]) == set(template.mappings["properties"])
        assert made["settings"]["index"]["number_of_shards"] == "1"
        assert made["settings"]["index"]["auto_expand_replicas"] == "0-1"


async def test_asking_for_access_writes_nothing(client: Cluster, index_prefix: str) -> None:
    names = IndexNames(index_prefix)
    await ensure_all(client, names)
    await check_access(client, names)
    await client.request("POST", f"/{index_prefix}*/_refresh", params={"expand_wildcards": "all"})
    counted = await client.request("GET", f"/{index_prefix}*/_count", params={"expand_wildcards": "all"})
    assert counted.body["count"] == 0


def older(template: Template, **meta: Any) -> Template:
    properties = dict(list(template.mappings["properties"].items())[:3])
    return Template(template.name, template.settings, {"_meta": meta, "properties": properties})


@pytest.mark.parametrize("name", TEMPLATES)
async def test_an_older_index_is_upgraded_with_its_documents(client: Cluster, index_prefix: str, name: str) -> None:
    template, index = load_template(name), index_prefix + name
    await client.request(
        "PUT",
        f"/{index}",
        body={"settings": template.settings, "mappings": older(template, schema_version=0).mappings},
    )
    await client.request("PUT", f"/{index}/_doc/a", body={})
    await asyncio.gather(*(ensure(client, index, template) for _ in range(3)))
    assert await stored_version(client, index) == template.version
    mapping = (await client.request("GET", f"/{index}/_mapping")).body[index]["mappings"]
    assert set(mapping["properties"]) == set(template.mappings["properties"])
    assert (await client.request("GET", f"/{index}/_doc/a")).body["found"]


async def test_a_newer_index_is_left_alone(client: Cluster, index_prefix: str) -> None:
    template, index = load_template("task"), index_prefix + "task"
    await ensure(client, index, older(template, schema_version=99))
    before = (await client.request("GET", f"/{index}/_mapping")).body
    await ensure(client, index, template)
    assert (await client.request("GET", f"/{index}/_mapping")).body == before


def info(*plugins: str) -> ClusterInfo:
    return ClusterInfo("3.6.0", "opensearch", "c", frozenset(plugins))


def test_the_prefix_of_the_real_ml_commons_is_not_shared() -> None:
    with pytest.raises(Conflict, match=r"--index-prefix.*BRIDGE_INDEX_PREFIX"):
        check_prefix(info("opensearch-ml"), DEFAULT_PREFIX)
    check_prefix(info("opensearch-ml"), ".bridge-ml-")
    check_prefix(info("opensearch-knn"), DEFAULT_PREFIX)


@pytest.mark.smoke
@pytest.mark.timeout(240)
async def test_names_that_the_security_plugin_protects(secured_cluster: Any, index_prefix: str) -> None:
    access = {"urls": (secured_cluster.url,), "ca": secured_cluster.ca_file}
    admin = Cluster(ClusterConfig(**access, user=secured_cluster.user, password=secured_cluster.password))
    with pytest.raises(Forbidden, match=r"--index-prefix.*admin client certificate"):
        await ensure_all(admin, IndexNames(DEFAULT_PREFIX))
    await ensure_all(admin, IndexNames(index_prefix))
    await admin.close()
    certificate = {"client_cert": secured_cluster.client_cert, "client_key": secured_cluster.client_key}
    by_certificate = Cluster(ClusterConfig(**access, **certificate))
    try:
        await ensure_all(by_certificate, IndexNames(DEFAULT_PREFIX))
    finally:
        for name in TEMPLATES:
            await by_certificate.attempt("DELETE", "/" + IndexNames(DEFAULT_PREFIX).of(name))
        await by_certificate.close()
