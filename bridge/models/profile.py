"""The profile: what is deployed where, how fast it has been lately, and which tasks are under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, FunctionName, TaskState
from bridge.domain.node import Node
from bridge.domain.task import Task
from bridge.models.access import Access
from bridge.models.node_reports import NodeReports, Report
from bridge.models.states import holders, report_of
from bridge.store.documents import Documents, Stored
from bridge.wire import to_document

_MOST = 1000
_RUNNING = tuple(state.value for state in TaskState if not state.final)

Profiled = dict[str, dict[str, Any]]
"""`{node id: {"tasks": {id: task}, "models": {id: profile}}}`, empty parts left out."""


@dataclass(frozen=True)
class Wanted:
    """What of the profile is asked for."""

    node_ids: tuple[str, ...] = ()
    model_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    all_models: bool = False
    all_tasks: bool = False


class Profiles:
    """Puts together what nodes report and what the documents say; only models that the caller may use are shown."""

    def __init__(
        self, models: Documents[Model], tasks: Documents[Task], *, reports: NodeReports, access: Access
    ) -> None:
        self._models = models
        self._tasks = tasks
        self._reports = reports
        self._access = access

    async def nodes(self, wanted: Wanted, caller: Caller | None) -> Profiled:
        """One entry for each node that answered; empty when there is nothing at all to show."""
        told = await self._reports.gather(wanted.node_ids)
        models = await self._deployed(wanted, caller)
        tasks = await self._running(wanted, caller)
        nodes = {node_id: node for node_id, (node, _) in told.items()}
        found: Profiled = {}
        for node_id, (node, report) in told.items():
            of_tasks = {task.id: to_document(task.value) for task in tasks if node_id in (task.value.worker_node or ())}
            here = [model for model in models if _concerns(model, node_id, node, report)]
            of_models = {model.id: _profile(model, node, nodes, report) for model in here}
            parts = {"tasks": of_tasks, "models": of_models}
            found[node_id] = {name: part for name, part in parts.items() if part}
        return found if any(found.values()) else {}

    async def visible(self, model_ids: set[str], caller: Caller | None) -> set[str]:
        """Those of the models that the caller may see; all of them where nothing is restricted."""
        only = await self._access.search_filter(caller)
        if only is None or not model_ids:
            return model_ids
        query = {"bool": {"filter": [{"ids": {"values": sorted(model_ids)}}, only]}}
        return {stored.id for stored in await self._models.search(query, size=10_000)}

    async def _deployed(self, wanted: Wanted, caller: Caller | None) -> list[Stored[Model]]:
        if not wanted.all_models and not wanted.model_ids:
            return []
        clauses: list[Mapping[str, Any]] = [{"terms": {"model_state": [state.value for state in WANTED_STATES]}}]
        if not wanted.all_models:
            clauses.append({"ids": {"values": list(wanted.model_ids)}})
        only = await self._access.search_filter(caller)
        if only is not None:
            clauses.append(only)
        return list(await self._models.search({"bool": {"filter": clauses}}, size=_MOST))

    async def _running(self, wanted: Wanted, caller: Caller | None) -> list[Stored[Task]]:
        if not wanted.all_tasks and not wanted.task_ids:
            return []
        clauses: list[Mapping[str, Any]] = [{"terms": {"state": list(_RUNNING)}}]
        if not wanted.all_tasks:
            clauses.append({"ids": {"values": list(wanted.task_ids)}})
        only = await self._access.task_filter(caller)
        if only is not None:
            clauses.append(only)
        return list(await self._tasks.search({"bool": {"filter": clauses}}, size=_MOST))


def by_model(nodes: Profiled) -> dict[str, dict[str, Any]]:
    """The same, one entry for each model: `?view=model`."""
    found: dict[str, dict[str, Any]] = {}
    for node_id, parts in nodes.items():
        for model_id, profile in parts.get("models", {}).items():
            shared = {name: profile[name] for name in ("target_worker_nodes", "worker_nodes") if name in profile}
            entry = found.setdefault(model_id, {**shared, "nodes": {}})
            entry["nodes"][node_id] = {name: value for name, value in profile.items() if name not in shared}
        for task_id, task in parts.get("tasks", {}).items():
            found.setdefault(str(task.get("model_id")), {}).setdefault("tasks", {})[task_id] = task
    return found


def _concerns(model: Stored[Model], node_id: str, node: Node, report: Report) -> bool:
    """Whether the node has the model, is to have it, or has lately asked it something."""
    planned = model.value.planning_worker_nodes or ()
    return node_id in planned or report_of(node, model.id) is not None or model.id in report.get("times", {})


def _profile(model: Stored[Model], node: Node, nodes: Mapping[str, Node], report: Report) -> dict[str, Any]:
    held = report_of(node, model.id)
    planned = list(model.value.planning_worker_nodes or ())
    remote = model.value.algorithm is FunctionName.REMOTE
    runs = f"bridge.connectors@{node.name}" if remote else None
    if held is not None and held.device is not None:
        runs = f"bridge.engines.{str(model.value.model_format).lower()}@{held.device}"
    told = {
        "model_state": model.value.model_state,
        "predictor": runs,
        "target_worker_nodes": planned,
        "worker_nodes": [each for each in planned if each in nodes] if remote else holders(model.id, nodes),
        **report.get("times", {}).get(model.id, {}),
        "memory_size_estimation_cpu": None if held is None else held.memory,
        "memory_size_estimation_gpu": None if held is None else held.memory,
    }
    return {name: value for name, value in told.items() if value is not None}
