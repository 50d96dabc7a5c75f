"""Cluster settings: the same requests to the bridge before a cluster without ML Commons, and to the real thing.

Only keys that do nothing in a test are changed, and each is reset.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from bridge_fixtures import StartBridge
from scenario import Side, Step, play
from server_fixtures import Cluster

from bridge.proxy.slow.settings_tree import structured

pytestmark = [pytest.mark.parity, pytest.mark.integration]

PATH = "/_cluster/settings"
ML = "plugins.ml_commons."
BULK, BATCH, FIELD = ML + "batch_ingestion_bulk_size", ML + "max_batch_inference_tasks", ML + "remote_job.status_field"
MINE = (BULK, BATCH, ML + "max_batch_ingestion_tasks", FIELD, ML + "ag_ui_enabled")
SHOWN = ",".join(f"{store}.{key}" for store in ("persistent", "transient") for key in MINE)


@pytest.fixture(autouse=True)
async def _put_back(sides: tuple[Side, Side]) -> AsyncIterator[None]:
    yield
    body = {store: dict.fromkeys(MINE) for store in ("persistent", "transient")}
    for side in sides:
        async with side.session.put(side.url + PATH, json=body) as answer:
            assert answer.status == 200


def put(name: str, body: Any, query: str = "", **options: Any) -> Step:
    return Step(name, "PUT", PATH + query, body, **options)


def shown(name: str, query: str = "") -> Step:
    # The order of keys depends on how many other settings there are.
    return Step(name, "GET", f"{PATH}?filter_path={SHOWN}{query}", unordered=True)


async def test_every_notation_reset_and_wildcards(sides: tuple[Side, Side]) -> None:
    nested = {"plugins": {"ml_commons": {"max_batch_inference_tasks": "7"}}}
    mixed = {"plugins": {"ml_commons.ag_ui_enabled": True}, BULK: 300}
    await play(
        [
            put("flat", {"persistent": {BULK: 200}}),
            put("nested", {"transient": nested}),
            put("mixed", {"persistent": mixed}),
            put("flat answer", {"persistent": mixed}, "?flat_settings=true"),
            put("both stores", {"persistent": {BATCH: 3}, "transient": {BATCH: 4, FIELD: ["a", "b"]}}),
            shown("shown"),
            shown("shown flat", "&flat_settings"),
            put("a list as text", {"transient": {FIELD: "x,y"}}),
            put("a list by numbers", {"transient": {f"{FIELD}.0": "z", f"{FIELD}.1": 1.5}}),
            put("an empty list", {"transient": {FIELD: []}}),
            shown("lists"),
            put("reset", {"transient": {BULK: None, FIELD: None}}),
            put("reset what is not set", {"persistent": {FIELD: None}}),
            put("reset by wildcard", {"persistent": {ML + "max_batch*": None}, "transient": {ML + "max_batch*": None}}),
            put("reset nothing by wildcard", {"transient": {ML + "bogus*": None}}),
            shown("after resets"),
            put("pretty", {"persistent": {BULK: 400}}, "?pretty&filter_path=acknowledged"),
        ],
        *sides,
    )


REFUSED: dict[str, tuple[str, Any]] = {
    "no number": ("max_model_on_node", "abc"),
    "below": ("max_model_on_node", -1),
    "above": ("max_model_on_node", 10_001),
    "a fraction": ("max_model_on_node", 1.5),
    "a switch for a number": ("max_model_on_node", True),
    "an empty number": ("max_model_on_node", ""),
    "a list for a number": ("max_model_on_node", [1]),
    "an object for a number": ("max_model_on_node", {"a": 1}),
    "too long a number": ("max_json_size", 99_999_999_999),
    "below minus one": ("max_json_size", -5),
    "no switch": ("only_run_on_ml_node", "yes"),
    "a number for a switch": ("only_run_on_ml_node", 1),
    "a ratio above": ("model_auto_redeploy_success_ratio", 2),
    "no ratio": ("model_auto_redeploy_success_ratio", "x"),
    "no size": ("disk_free_space_threshold", "x"),
    "a negative size": ("disk_free_space_threshold", "-2gb"),
    "a size without unit": ("disk_free_space_threshold", 5),
    "a size with a fraction": ("disk_free_space_threshold", "1.5gb"),
    "a size with a fraction of zero": ("disk_free_space_threshold", " 1.0 KB"),
    "bytes with a fraction": ("disk_free_space_threshold", "1.5b"),
    "a size of no number": ("disk_free_space_threshold", "1_0kb"),
    "a negative number of bytes": ("disk_free_space_threshold", "-5b"),
    "too large a size": ("disk_free_space_threshold", "99999999pb"),
    "an infinite ratio": ("model_auto_redeploy_success_ratio", "Infinity"),
    "a ratio below": ("model_auto_redeploy_success_ratio", "-1e-40"),
    "a long above": ("monitoring_request_count", 10_000_001),
    "static": ("multi_tenancy_enabled", True),
    "static with a range": ("master_key_cache_ttl_minutes", 3),
    "static reset": ("multi_tenancy_enabled", None),
    "final": ("metrics_collection_enabled", True),
    "final reset": ("remote_metadata_type", None),
    "unknown": ("bogus", True),
    "unknown reset": ("bogus", None),
    "a wildcard with a value": ("*", 1),
    "half a key": ("exclude_nodes", "a"),
    "another attribute": ("exclude_nodes._ip", "a"),
    "a list of lists": ("remote_job.status_field", ["a", ["b"]]),
    "a list with null": ("remote_job.status_field", ["a", None]),
}


async def test_refusals(sides: tuple[Side, Side]) -> None:
    steps = [put(name, {"transient": {ML + key: value}}) for name, (key, value) in REFUSED.items()]
    steps.append(put("persistent", {"persistent": {ML + "bogus": 1}}))
    several = {"transient": {ML + "max_model_on_node": "x", ML + "aaa": 1}, "persistent": {ML + "aab": 1}}
    steps.append(put("the first in order", several))
    steps.append(put("all or nothing", {"persistent": {BULK: 250, ML + "bogus": 1}}))
    steps.append(put("others with ours", {"persistent": {BULK: 250, "cluster.bogus": 1}}))
    steps += [shown("nothing was set")]
    await play(steps, *sides)


async def test_bodies_and_parameters(sides: tuple[Side, Side]) -> None:
    body = {"persistent": {BULK: 200}}
    await play(
        [
            *(
                put(f"body {raw}", raw)
                for raw in ("{}", "[]", '{"transient":{}}', '{"foo":1}', "{", '{"transient":null}')
            ),
            *(put(f"not an object {raw}", raw) for raw in ('{"transient":[]}', '{"persistent":"x"}')),
            Step("no body", "PUT", PATH),
            put("an unknown parameter", body, "?bogus=1"),
            put("two unknown parameters", body, "?bogus=1&other"),
            put("nothing inside", {"transient": {"plugins.ml_commons": {}}}),
            put("null inside", {"transient": {"plugins.ml_commons": None}}),
            Step("a wrong switch to read", "GET", PATH + "?include_defaults=x"),
            shown("nothing was set"),
            # The reference sets it all the same, and only then fails to answer.
            put("a wrong switch", body, "?flat_settings=x"),
        ],
        *sides,
    )


async def test_defaults_are_those_of_ml_commons_but_for_the_documented(sides: tuple[Side, Side]) -> None:
    async def defaults(side: Side) -> dict[str, Any]:
        async with side.session.get(f"{side.url}{PATH}?include_defaults=true&flat_settings=true") as answer:
            told = await answer.json()
            found = {**told["defaults"], **told["transient"], **told["persistent"]}
            return {key.removeprefix(ML): value for key, value in found.items() if key.startswith(ML)}

    mine, real = await asyncio.gather(*(defaults(side) for side in sides))
    assert sorted(mine) == sorted(real)
    differing = {key for key in mine if mine[key] != real[key]}
    # The reference's node is configured for tests; the rest has its reasons in bridge/domain/cluster_settings.py.
    assert differing <= {
        "allow_custom_deployment_plan", "allow_registering_model_via_local_file", "allow_registering_model_via_url",
        "connector.private_ip_enabled", "disk_free_space_threshold", "jvm_heap_memory_threshold", "only_run_on_ml_node",
        "trusted_connector_endpoints_regex", "trusted_url_regex",
    }  # fmt: skip


async def test_our_nested_form_is_the_clusters(cluster: Cluster, reference: Cluster) -> None:
    for server in (cluster, reference):
        query = f"{PATH}?include_defaults=true"
        flat, nested = server.request("GET", f"{query}&flat_settings=true")[1], server.request("GET", query)[1]
        for store, settings in nested.items():
            # Dumped, since the order of keys counts.
            assert json.dumps(structured(flat[store])) == json.dumps(settings)


async def test_others_pass_through_and_show_beside_ours(sides: tuple[Side, Side]) -> None:
    theirs = "cluster.routing.allocation.node_concurrent_recoveries"
    both = {"transient": {theirs: 3, BULK: 222}}
    query = f"?filter_path=transient.{theirs},transient.{BULK}"
    await play(
        [
            put("both", both),
            Step("shown", "GET", PATH + query, unordered=True),
            put("only theirs", {"transient": {theirs: 4}}),
            Step("shown again", "GET", f"{PATH}{query}&flat_settings=true", unordered=True),
            put("reset both", {"transient": {theirs: None, BULK: None}}),
        ],
        *sides,
    )


async def test_a_second_bridge_follows_within_two_seconds(
    cluster: Cluster, reference: Cluster, start_bridge: StartBridge
) -> None:
    first, second = start_bridge(cluster.url), start_bridge(cluster.url)
    async with aiohttp.ClientSession() as session:
        body = {"persistent": {ML + "controller_enabled": False}}
        async with session.put(first.url + PATH, json=body) as answer:
            assert answer.status == 200
        began = time.monotonic()
        for url, patience in ((first.url, 0.0), (second.url, 2.5)):
            reason = ""
            while "Controller is currently disabled" not in reason and time.monotonic() <= began + patience + 1.0:
                async with session.get(f"{url}/_plugins/_ml/controllers/x") as answer:
                    reason = await answer.text()
                await asyncio.sleep(0.05)
            assert "Controller is currently disabled" in reason


async def test_a_cluster_with_the_real_plugin_keeps_its_keys_too(reference: Cluster, start_bridge: StartBridge) -> None:
    key = ML + "mcp_header_passthrough_enabled"
    there = {"persistent": {"plugins": {"ml_commons": {"mcp_header_passthrough_enabled": "true"}}}}
    bridge = start_bridge(reference.url)
    async with aiohttp.ClientSession() as session:
        async with session.put(bridge.url + PATH, json={"persistent": {key: True}}) as answer:
            assert (answer.status, await answer.json()) == (200, {"acknowledged": True, **there, "transient": {}})
        shown = f"{PATH}?filter_path=persistent.{key}"
        assert reference.request("GET", shown)[1] == there
        async with session.put(bridge.url + PATH, json={"persistent": {key: None}}) as answer:
            assert answer.status == 200
        assert reference.request("GET", shown)[1] == {}
