"""`/_plugins/_ml/stats`: the statistics of ML Commons, over all live nodes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.names import FunctionName
from bridge.domain.node import Node
from bridge.errors import InvalidRequest
from bridge.models.node_reports import Report, deployed_count
from bridge.models.statistics import FAILURES, REQUESTS
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import read_body, read_lists
from bridge.rest.nodes import UnknownPeer
from bridge.rest.services import Services, services
from bridge.store.stores import IS_CHUNK
from bridge.wire import dumps

LEVELS = ("CLUSTER", "NODE", "ALGORITHM", "MODEL", "ACTION")
COUNTS = ("ML_MODEL_COUNT", "ML_CONNECTOR_COUNT")
CLUSTER = (
    "ML_MODEL_INDEX_STATUS", "ML_CONNECTOR_INDEX_STATUS", "ML_CONFIG_INDEX_STATUS", "ML_TASK_INDEX_STATUS",
    "ML_CONTROLLER_INDEX_STATUS", *COUNTS,
)  # fmt: skip
NODE = (
    "ML_JVM_HEAP_USAGE", "ML_EXECUTING_TASK_COUNT", "ML_REQUEST_COUNT", "ML_FAILURE_COUNT", "ML_DEPLOYED_MODEL_COUNT",
    "ML_CIRCUIT_BREAKER_TRIGGER_COUNT",
)  # fmt: skip
ACTIONS = ("TRAIN", "PREDICT", "TRAIN_PREDICT", "EXECUTE", "REGISTER", "DEPLOY", "UNDEPLOY", "BATCH_PREDICT")
_NONE = "non-existent"


@dataclass(frozen=True)
class Wanted:
    """What is asked for; an empty choice of stats, nodes, algorithms, models or actions means all."""

    levels: frozenset[str] = frozenset()
    cluster: frozenset[str] = frozenset()
    node: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()
    algorithms: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()


async def stats(request: web.Request) -> web.Response:
    """Cluster's, nodes', algorithms' and models' counters."""
    wanted = await _from_body(request) if await read_body(request) else _from_path(request)
    told = await _cluster(services(request), wanted) if "CLUSTER" in wanted.levels else {}
    if wanted.levels and wanted.levels <= {"CLUSTER"}:
        return answer(request, told)
    nodes = await _nodes(request, wanted)
    return answer(request, {**told, "nodes": nodes} if nodes else told)


async def report_here(request: web.Request) -> web.Response:
    """What this node has done, for another node that was asked for all."""
    to = services(request)
    shown = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(shown, f"Bearer {to.internal_token}".encode()):
        raise UnknownPeer("unknown node")
    return web.Response(body=dumps(await to.reports.own()), content_type="application/json")


def _from_path(request: web.Request) -> Wanted:
    named = [name.strip().upper() for name in request.match_info.get("stats", "").split(",") if name.strip()]
    nodes = tuple(part for part in request.match_info.get("nodes", "").split(",") if part)
    if not named:
        return Wanted(levels=frozenset(LEVELS), nodes=nodes)
    node = frozenset(named).intersection(NODE)
    cluster = _chosen([name for name in named if name not in node], CLUSTER, "Wrong ML cluster level stat")
    levels = {level for level, some in (("CLUSTER", cluster), ("NODE", node)) if some}
    return Wanted(levels=frozenset(levels), cluster=cluster, node=node, nodes=nodes)


async def _from_body(request: web.Request) -> Wanted:
    said = await read_lists(request, shapes.STATS)
    _chosen(said["action_level_stats"], (REQUESTS.upper(), FAILURES.upper()), "Wrong ML action level stat")
    return Wanted(
        levels=_chosen(said["target_stat_levels"], LEVELS, "Wrong ML stat level"),
        cluster=_chosen(said["cluster_level_stats"], CLUSTER, "Wrong ML cluster level stat"),
        node=_chosen(said["node_level_stats"], NODE, "Wrong ML node level stat"),
        nodes=tuple(said["node_ids"] or ()),
        algorithms=_chosen(said["algorithms"], tuple(FunctionName), "Wrong function name"),
        models=frozenset(said["models"] or ()),
        actions=_chosen(said["actions"], ACTIONS, "Wrong action name"),
    )


def _chosen(said: Sequence[str] | None, known: Sequence[str], problem: str) -> frozenset[str]:
    found = [name.upper() for name in said or ()]
    if any(name not in known for name in found):
        raise InvalidRequest(problem)
    return frozenset(found)


async def _cluster(to: Services, wanted: Wanted) -> dict[str, Any]:
    chosen = wanted.cluster or frozenset(CLUSTER)
    told: dict[str, Any] = {}
    indices = {
        "MODEL": to.names.model,
        "CONNECTOR": to.names.connector,
        "CONFIG": to.names.config,
        "TASK": to.names.task,
        "CONTROLLER": to.names.controller,
    }
    if any(name.endswith("_INDEX_STATUS") for name in chosen):
        health = await _health(to)
        for part, index in indices.items():
            if f"ML_{part}_INDEX_STATUS" in chosen:
                told[f"ml_{part.lower()}_index_status"] = health.get(index, _NONE)
    if "ML_MODEL_COUNT" in chosen:
        # ML Commons counts connectors along with models, and only then.
        told["ml_model_count"] = await _count(to, to.names.model, {"bool": {"must_not": [IS_CHUNK]}})
        told["ml_connector_count"] = await _count(to, to.names.connector, {"match_all": {}})
    return told


async def _health(to: Services) -> dict[str, str]:
    # Not _cat/indices: that takes rights to monitor and to read settings, which the bridge has no other use for.
    params = {"level": "indices", "expand_wildcards": "all", "filter_path": "indices.*.status"}
    told = (await to.cluster.request("GET", f"/_cluster/health/{to.names.prefix}*", params=params)).body or {}
    return {name: index["status"] for name, index in told.get("indices", {}).items()}


async def _count(to: Services, index: str, query: Mapping[str, Any]) -> int:
    params = {"ignore_unavailable": "true"}
    found = await to.cluster.request("POST", f"/{index}/_count", params=params, body={"query": query})
    return int(found.body["count"])


async def _nodes(request: web.Request, wanted: Wanted) -> dict[str, Any]:
    to = services(request)
    told = await to.reports.gather(wanted.nodes)
    named = {model_id for _, report in told.values() for model_id in report.get("models", {})}
    asked = {name for name in named if not wanted.models or name in wanted.models}
    visible = await to.profiles.visible(asked, request.get(CALLER))
    found = {node_id: _node(node, report, wanted, visible) for node_id, (node, report) in told.items()}
    return found if any(any(value not in ({}, None) for value in parts.values()) for parts in found.values()) else {}


def _node(node: Node, report: Report, wanted: Wanted, visible: set[str]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if "NODE" in wanted.levels:
        chosen = wanted.node or frozenset(NODE)
        figures = {
            # There is no JVM here: the share of the machine's memory that is in use stands for it.
            "ML_JVM_HEAP_USAGE": report.get("memory_used", 0),
            "ML_EXECUTING_TASK_COUNT": report.get("executing", 0),
            "ML_REQUEST_COUNT": report.get("requests", 0),
            "ML_FAILURE_COUNT": report.get("failures", 0),
            "ML_DEPLOYED_MODEL_COUNT": deployed_count(node),
            "ML_CIRCUIT_BREAKER_TRIGGER_COUNT": report.get("breaks", 0),
        }
        parts = {name.lower(): value for name, value in figures.items() if name in chosen}
    algorithms = report.get("algorithms", {}) if wanted.levels & {"ALGORITHM", "ACTION"} else {}
    parts["algorithms"] = {
        name: _actions(actions, wanted)
        for name, actions in algorithms.items()
        if not wanted.algorithms or name.upper() in wanted.algorithms
    }
    models = report.get("models", {})
    parts["models"] = {name: _actions(actions, wanted) for name, actions in models.items() if name in visible}
    return parts


def _actions(actions: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    return {name: told for name, told in actions.items() if not wanted.actions or name.upper() in wanted.actions}
