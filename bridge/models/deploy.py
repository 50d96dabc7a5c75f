"""Deploying and undeploying: writing the plan into the model document; the nodes do the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, ModelState, TaskState, TaskType
from bridge.domain.node import Node
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models.groups import now_ms
from bridge.models.node import LiveNodes
from bridge.models.states import holders
from bridge.store.documents import Documents, Stored
from bridge.tasks.queue import TaskQueue

UNDEPLOY_SECONDS = 30.0
_POLL_SECONDS = 0.1
_TRIES = 20
UNDEPLOYED, NOT_FOUND = "undeployed", "not_found"

Stats = dict[str, Any]
"""`{node id: {"stats": {model id: "undeployed" | "not_found"}}}`."""


class Deployer:
    """Plans of deployment."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        live: LiveNodes,
        tasks: TaskQueue,
        nudge: Callable[[], None] | None = None,
        undeploy_seconds: float = UNDEPLOY_SECONDS,
    ) -> None:
        self._models = models
        self._live = live
        self._tasks = tasks
        self._nudge = nudge or _nobody
        self._undeploy_seconds = undeploy_seconds

    async def deploy(self, model_id: str, node_ids: Sequence[str] | None = None) -> str:
        """Plan the model onto all ML nodes, or onto those named; gives the id of the DEPLOY_MODEL task.

        Raises NotFound, and InvalidRequest when no node is eligible or the model sits on nodes that are not named.
        """
        await self._live.fresh()
        for _ in range(_TRIES):
            stored = await self._model(model_id)
            planned = self._targets(stored, node_ids)
            value = replace(
                stored.value,
                model_state=ModelState.DEPLOYING,
                planning_worker_nodes=planned,
                planning_worker_node_count=len(planned),
                deploy_to_all_nodes=True if node_ids is None else None,
                last_updated_time=now_ms(),
            )
            try:
                written = await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            return await self._submit(written, planned)
        raise Unavailable(f"model {model_id} is being written by too many at once")

    async def undeploy(self, model_ids: Sequence[str], node_ids: Sequence[str] | None = None) -> Stats:
        """Take the models' plans back, on all nodes or on those named, and wait until their holders let go.

        Raises NotFound for an unknown model when it is the only one asked for.
        """
        await self._live.fresh()
        nodes = self._live.ml()
        asked = [node for node in nodes if node_ids is None or node in node_ids]
        held: dict[str, list[str]] = {}
        for model_id in model_ids:
            held[model_id] = [node for node in holders(model_id, nodes) if node in asked]
            await self._take_back(model_id, node_ids, nodes, alone=len(model_ids) == 1)
        self._nudge()
        await self._released(held)
        return {
            node: {"stats": {model: UNDEPLOYED if node in held[model] else NOT_FOUND for model in model_ids}}
            for node in asked
        }

    async def _submit(self, stored: Stored[Model], planned: tuple[str, ...]) -> str:
        task = Task(
            model_id=stored.id,
            task_type=TaskType.DEPLOY_MODEL,
            function_name=stored.value.algorithm,
            state=TaskState.CREATED,
            worker_node=planned,
        )
        plan = {"model_id": stored.id, "nodes": list(planned), "seq_no": stored.version.seq_no}
        submitted = await self._tasks.submit(task, input=plan)
        self._nudge()
        return submitted.id

    async def _model(self, model_id: str) -> Stored[Model]:
        stored = await self._models.get(model_id)
        if stored is None:
            raise NotFound("Failed to find model")
        return stored

    def _targets(self, stored: Stored[Model], node_ids: Sequence[str] | None) -> tuple[str, ...]:
        nodes = self._live.ml()
        if node_ids is None:
            if not nodes:
                raise InvalidRequest("no eligible node found")
            return tuple(nodes)
        left_out = [node for node in self._working(stored, nodes) if node not in node_ids]
        if left_out:
            raise InvalidRequest(
                f"Model already deployed to these nodes: [{', '.join(left_out)}], but they are not included in target"
                " node ids. Undeploy model from these nodes if don't need them any more.Undeploy from old nodes before"
                " try to deploy model on new nodes. Or include all old nodes on your target nodes."
            )
        targets = tuple(node for node in nodes if node in node_ids)
        if not targets:
            raise InvalidRequest("no eligible node found")
        return targets

    def _working(self, stored: Stored[Model], nodes: Mapping[str, Node]) -> list[str]:
        if stored.value.model_state not in WANTED_STATES:
            # Undeployed a moment ago: nodes that still report it are about to let go.
            return []
        return holders(stored.id, nodes)

    async def _take_back(
        self, model_id: str, node_ids: Sequence[str] | None, nodes: Mapping[str, Node], *, alone: bool
    ) -> None:
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None:
                if alone:
                    raise NotFound("Failed to find model")
                return
            value = _without(stored, node_ids, nodes)
            if value == stored.value:
                return
            try:
                await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            return
        raise Unavailable(f"model {model_id} is being written by too many at once")

    async def _released(self, held: Mapping[str, Iterable[str]]) -> None:
        """Wait until no node that held a model reports it any more, or is gone; bounded."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._undeploy_seconds
        while loop.time() < deadline:
            nodes = self._live.ml()
            if not any(set(holders(model, nodes)) & set(ids) for model, ids in held.items()):
                return
            await asyncio.sleep(_POLL_SECONDS)
            await self._live.fresh()


def _without(stored: Stored[Model], node_ids: Sequence[str] | None, nodes: Mapping[str, Node]) -> Model:
    """The model without the plan for these nodes (None: for any)."""
    model = stored.value
    planned = model.planning_worker_nodes or ()
    if model.model_state not in WANTED_STATES:
        planned = ()
    rest = () if node_ids is None else tuple(node for node in planned if node not in node_ids)
    if node_ids is not None and planned and rest == planned:
        return model
    if rest:
        current = len(set(rest) & set(holders(stored.id, nodes)))
        return replace(
            model,
            deploy_to_all_nodes=None,
            planning_worker_nodes=rest,
            planning_worker_node_count=len(rest),
            current_worker_node_count=current,
        )
    return replace(
        model,
        model_state=ModelState.UNDEPLOYED,
        planning_worker_nodes=None,
        planning_worker_node_count=0,
        current_worker_node_count=0,
    )


def _nobody() -> None:
    return
