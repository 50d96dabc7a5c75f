"""The DEPLOY_MODEL task: it watches a plan until every planned node has reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, ModelState, TaskState
from bridge.errors import ClusterUnavailable, VersionConflict
from bridge.models.groups import now_ms
from bridge.models.node import LiveNodes
from bridge.models.states import Standing, Standings, settled, standings
from bridge.store.documents import Documents, Stored
from bridge.tasks.job import Job, Outcome
from bridge.wire import dumps

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 600.0
_POLL_SECONDS = 0.25


class DeployTask:
    """Handler of DEPLOY_MODEL. It changes nothing but the model's state, so any worker may take it over at any time."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        live: LiveNodes,
        nudge: Callable[[], None],
        settings: CurrentSettings | None = None,
        deadline: float = DEADLINE_SECONDS,
        poll: float = _POLL_SECONDS,
    ) -> None:
        self._models = models
        self._live = live
        self._nudge = nudge
        self._settings = settings or FixedSettings()
        self._deadline = deadline
        self._poll = poll

    async def __call__(self, job: Job) -> Outcome:
        """Ends COMPLETED, COMPLETED_WITH_ERROR or FAILED; `error` is a JSON object {node id: reason}."""
        plan = job.input
        model_id, planned, since = str(plan["model_id"]), list(plan["nodes"]), int(plan["plan"])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(self._deadline, self._settings.current.ml_task_timeout_in_seconds)
        self._nudge()
        while True:
            late = loop.time() >= deadline
            try:
                outcome = await self._look(model_id, planned, since, late=late)
            except ClusterUnavailable as error:
                # Nodes go on by themselves meanwhile; the task only watches, and may watch on.
                log.info("deploy task waits", action="deploy.wait", model_id=model_id, reason=error.reason)
                outcome = None
                if late:
                    raise
            if outcome is not None:
                return outcome
            await asyncio.sleep(self._poll)

    async def _look(self, model_id: str, planned: list[str], since: int, *, late: bool) -> Outcome | None:
        """The outcome if there is one; `late`: whoever has not reported now has failed."""
        stored = await self._models.get(model_id)
        taken_back = _taken_back(stored, planned)
        if taken_back is not None:
            return _outcome(dict.fromkeys(planned, taken_back), planned)
        await self._live.fresh()
        judged = standings(model_id, planned, self._live.ml(), since=since)
        done = stored is not None and not judged.count(Standing.PENDING) and await self._settled(stored)
        everywhere = stored is not None and bool(stored.value.deploy_to_all_nodes)
        return _outcome(_errors(judged, everywhere=everywhere), planned) if done or late else None

    async def _settled(self, stored: Stored[Model]) -> bool:
        """Whether the document's state follows from the reports already, so that no client sees the task end first."""
        value = settled(stored, self._live.known, now=now_ms(), settings=self._settings.current)
        if value is None:
            return stored.value.model_state is not ModelState.DEPLOYING
        try:
            await self._models.replace(stored, value, refresh=True)
        except VersionConflict:
            return False
        return value.model_state is not ModelState.DEPLOYING


def _taken_back(stored: Stored[Model] | None, planned: list[str]) -> str | None:
    if stored is None:
        return "Failed to find model"
    if stored.value.model_state not in WANTED_STATES:
        return "the model was undeployed meanwhile"
    kept = stored.value.planning_worker_nodes or ()
    if not stored.value.deploy_to_all_nodes and not set(planned) & set(kept):
        return "the model was undeployed from this node meanwhile"
    return None


def _errors(judged: Standings, *, everywhere: bool) -> dict[str, str]:
    late = {node: "the node did not report in time" for node, s in judged.of.items() if s is Standing.PENDING}
    errors = {**judged.errors, **late}
    if everywhere and judged.count(Standing.HELD):
        # All nodes are meant, and a node that has left is none of them any more (so says ML Commons, too).
        return {node: error for node, error in errors.items() if judged.of[node] is not Standing.GONE}
    return errors


def _outcome(errors: Mapping[str, Any], planned: list[str]) -> Outcome:
    if not errors:
        return Outcome(state=TaskState.COMPLETED)
    state = TaskState.FAILED if len(errors) >= len(planned) else TaskState.COMPLETED_WITH_ERROR
    return Outcome(state=state, error=dumps(errors).decode())
