"""Deploying and undeploying: writing the plan into the model document; the nodes do the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bridge.domain.cluster_settings import ClusterSettings, CurrentSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, FunctionName, ModelState, TaskState, TaskType
from bridge.domain.node import Node
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models.eligible import eligible, runners
from bridge.models.groups import now_ms
from bridge.models.node import LiveNodes
from bridge.models.states import holders, settled, undeployed
from bridge.store.documents import Documents, Stored
from bridge.tasks.queue import TaskQueue, epoch_ms

UNDEPLOY_SECONDS = 30.0
_POLL_SECONDS = 0.1
_TRIES = 20
UNDEPLOYED, NOT_FOUND = "undeployed", "not_found"
NO_CUSTOM_PLAN = "Don't allow custom deployment plan"
LOCAL_OFF = (
    "Local Model is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.local_model.enabled" to true.'
)
REMOTE_OFF = (
    "Remote Inference is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.remote_inference_enabled" to true.'
)

Stats = dict[str, Any]
"""`{node id: {"stats": {model id: "undeployed" | "not_found"}}}`."""
Whole = Callable[[str], Awaitable[None]]
"""Asked of a model that is being registered; raises InvalidRequest when its content is not all there."""


def check_enabled(model: Model, settings: ClusterSettings) -> None:
    """Raises InvalidRequest when the cluster's settings forbid models of this kind."""
    if model.algorithm is FunctionName.REMOTE:
        if not settings.remote_inference_enabled:
            raise InvalidRequest(REMOTE_OFF, kind="status_exception")
    elif not settings.local_model_enabled:
        raise InvalidRequest(LOCAL_OFF, kind="status_exception")


async def _not_whole(model_id: str) -> None:
    # ML Commons begins, and fails, to deploy it.
    raise InvalidRequest(f"Model {model_id} is not registered completely yet: its content is not all there.")


class Deployer:
    """Plans of deployment.

    `must_be_whole` is asked about models that are being registered, `changed` is told each model with a new plan.
    """

    def __init__(
        self,
        *,
        models: Documents[Model],
        live: LiveNodes,
        tasks: TaskQueue,
        nudge: Callable[[], None] | None = None,
        settings: CurrentSettings | None = None,
        must_be_whole: Whole = _not_whole,
        changed: Callable[[Stored[Model]], None] | None = None,
        undeploy_seconds: float = UNDEPLOY_SECONDS,
    ) -> None:
        self._models = models
        self._live = live
        self._tasks = tasks
        self._nudge = nudge or _nobody
        self._settings = settings or FixedSettings()
        self._must_be_whole = must_be_whole
        self._changed = changed or _ignored
        self._undeploy_seconds = undeploy_seconds

    async def deploy(self, model_id: str, node_ids: Sequence[str] | None = None) -> str:
        """Plan the model onto all eligible nodes, or onto those named; gives the id of the DEPLOY_MODEL task.

        Raises what `begin` raises.
        """
        return (await self.begin(model_id, node_ids)).id

    async def begin(self, model_id: str, node_ids: Sequence[str] | None = None) -> Stored[Task]:
        """Like `deploy`, with the task: COMPLETED already for a remote model, which nobody has to load.

        Raises NotFound; InvalidRequest when no node is eligible, the model sits on nodes that are not named, its
        content is not all there, or the settings forbid it; Unavailable when too many write the model at once.
        """
        await self._live.fresh()
        for _ in range(_TRIES):
            stored = await self._model(model_id)
            check_enabled(stored.value, self._settings.current)
            self._check_custom(node_ids)
            if stored.value.model_state is ModelState.REGISTERING:
                await self._must_be_whole(stored.id)
            value = self._planned(stored, node_ids)
            try:
                written = await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                await asyncio.sleep(random.uniform(0.0, 0.05))
                continue
            self._changed(written)
            return await self._submit(written)
        raise _crowded(model_id)

    async def undeploy(self, model_ids: Sequence[str], node_ids: Sequence[str] | None = None) -> Stats:
        """Take the models' plans back, on all nodes or on those named, and wait until their holders let go.

        Raises NotFound for an unknown model when it is the only one asked for, and InvalidRequest for node ids where
        the settings allow none.
        """
        self._check_custom(node_ids)
        await self._live.fresh()
        nodes = self._live.known
        asked = [node for node in runners(nodes, FunctionName.REMOTE) if node_ids is None or node in node_ids]
        held: dict[str, list[str]] = {}
        waited_for: dict[str, list[str]] = {}
        for model_id in model_ids:
            before = await self._take_back(model_id, node_ids, nodes, alone=len(model_ids) == 1)
            waited_for[model_id] = [node for node in holders(model_id, nodes) if node in asked]
            remote = before is not None and before.algorithm is FunctionName.REMOTE
            held[model_id] = _callers(before, asked) if before is not None and remote else waited_for[model_id]
        self._nudge()
        await self._released(waited_for)
        return {
            node: {"stats": {model: UNDEPLOYED if node in held[model] else NOT_FOUND for model in model_ids}}
            for node in asked
        }

    def _check_custom(self, node_ids: Sequence[str] | None) -> None:
        if node_ids and not self._settings.current.allow_custom_deployment_plan:
            raise InvalidRequest(NO_CUSTOM_PLAN)

    def _planned(self, stored: Stored[Model], node_ids: Sequence[str] | None) -> Model:
        model, now = stored.value, now_ms()
        targets = self._targets(stored, node_ids)
        value = replace(
            model,
            model_state=ModelState.DEPLOYING,
            planning_worker_nodes=targets,
            planning_worker_node_count=len(targets),
            current_worker_node_count=model.current_worker_node_count or 0,
            deploy_to_all_nodes=True if node_ids is None else None,
            bridge_plan=model.plan + 1,
            last_updated_time=now,
        )
        if model.algorithm is not FunctionName.REMOTE:
            return value
        # Nothing is loaded, so there is nothing to wait for.
        done = settled(replace(stored, value=value), self._live.known, now=now, settings=self._settings.current)
        return done or value

    async def _submit(self, stored: Stored[Model]) -> Stored[Task]:
        model = stored.value
        planned = model.planning_worker_nodes or ()
        task = Task(
            model_id=stored.id,
            task_type=TaskType.DEPLOY_MODEL,
            function_name=model.algorithm,
            state=TaskState.CREATED,
            worker_node=planned,
        )
        if model.algorithm is FunctionName.REMOTE:
            now = epoch_ms()
            done = replace(task, state=TaskState.COMPLETED, create_time=now, last_update_time=now)
            return await self._tasks.tasks.create(done)
        plan = {"model_id": stored.id, "nodes": list(planned), "plan": model.plan}
        submitted = await self._tasks.submit(task, input=plan)
        self._nudge()
        return submitted

    async def _model(self, model_id: str) -> Stored[Model]:
        stored = await self._models.get(model_id)
        if stored is None:
            raise NotFound("Failed to find model")
        return stored

    def _targets(self, stored: Stored[Model], node_ids: Sequence[str] | None) -> tuple[str, ...]:
        nodes = eligible(self._live.known, self._settings.current, stored.value.algorithm)
        if node_ids is None:
            if not nodes:
                raise InvalidRequest("no eligible node found")
            return tuple(nodes)
        left_out = [node for node in self._working(stored) if node not in node_ids]
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

    def _working(self, stored: Stored[Model]) -> list[str]:
        if stored.value.model_state not in WANTED_STATES:
            # Undeployed a moment ago: nodes that still report it are about to let go.
            return []
        if stored.value.algorithm is FunctionName.REMOTE:
            return _callers(stored.value, self._live.known)
        return holders(stored.id, runners(self._live.known))

    async def _take_back(
        self, model_id: str, node_ids: Sequence[str] | None, nodes: Mapping[str, Node], *, alone: bool
    ) -> Model | None:
        """The model as it was; None when there is none and nobody minds."""
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None:
                if alone:
                    raise NotFound("Failed to find model")
                return None
            value = self._without(stored, node_ids, nodes)
            if value == stored.value:
                return value
            try:
                written = await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                await asyncio.sleep(random.uniform(0.0, 0.05))
                continue
            self._changed(written)
            return stored.value
        raise _crowded(model_id)

    def _without(self, stored: Stored[Model], node_ids: Sequence[str] | None, nodes: Mapping[str, Node]) -> Model:
        """The model without the plan for these nodes (None: for any)."""
        model = stored.value
        if model.model_state is ModelState.REGISTERING:
            # ML Commons writes UNDEPLOYED, and the half model passes for a whole one.
            return model
        planned = (model.planning_worker_nodes or ()) if model.model_state in WANTED_STATES else ()
        rest = () if node_ids is None else tuple(node for node in planned if node not in node_ids)
        if node_ids is not None and planned and rest == planned:
            return model
        if not rest:
            return undeployed(model)
        kept = replace(
            model,
            deploy_to_all_nodes=None,
            planning_worker_nodes=rest,
            planning_worker_node_count=len(rest),
            current_worker_node_count=len(set(rest) & set(holders(stored.id, nodes))),
        )
        # The node that goes may have been the one that failed.
        settings = self._settings.current
        return settled(replace(stored, value=kept), nodes, now=now_ms(), settings=settings) or kept

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


def _callers(model: Model, among: Iterable[str]) -> list[str]:
    """Nodes that a remote model is planned on."""
    if model.model_state not in WANTED_STATES:
        return []
    planned = model.planning_worker_nodes or ()
    return [node for node in among if node in planned]


def _crowded(model_id: str) -> Unavailable:
    return Unavailable(f"model {model_id} is being written by too many at once")


def _ignored(stored: Stored[Model]) -> None:
    return


def _nobody() -> None:
    return
