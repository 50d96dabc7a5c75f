"""Deploying a model because somebody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound
from bridge.models.known import KnownModels
from bridge.store.documents import Stored

log = structlog.get_logger(__name__)

NOT_READY = "Model not ready yet. Please deploy the model first."
_RUNNING = (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED, ModelState.DEPLOYING)


class Deploys(Protocol):
    """Who can plan a deployment; bridge.models.deploy.Deployer."""

    async def begin(self, model_id: str, node_ids: Sequence[str] | None = None) -> Stored[Task]: ...


class AutoDeploy:
    """The first predict deploys: remote models as in ML Commons, local ones where the process is told so.

    `plugins.ml_commons.model_auto_deploy.enable` and the model's `deploy_setting.is_auto_deploy_enabled` may forbid it.
    """

    def __init__(self, *, known: KnownModels, deploys: Deploys, settings: CurrentSettings, local: bool = False) -> None:
        self._known = known
        self._deploys = deploys
        self._settings = settings
        self._local = local
        self._busy: dict[str, asyncio.Lock] = {}

    def covers(self, model: Model) -> bool:
        """Whether models of this kind are deployed on first use at all."""
        return model.algorithm is FunctionName.REMOTE or self._local

    async def ensure(self, model_id: str) -> None:
        """See to it that somebody has asked for the model to be deployed; many callers at once ask once.

        Raises NotFound, InvalidRequest with ML Commons' words where it is forbidden, and what a deployment raises.
        """
        lock = self._busy.setdefault(model_id, asyncio.Lock())
        try:
            async with lock:
                stored = await self._known.get(model_id, fresh=True)
                if stored is None:
                    raise NotFound("Failed to find model")
                if stored.value.model_state not in _RUNNING:
                    await self._deploy(stored)
        finally:
            if not lock.locked():
                self._busy.pop(model_id, None)

    async def _deploy(self, stored: Stored[Model]) -> None:
        if not self._settings.current.model_auto_deploy_enable:
            raise InvalidRequest(NOT_READY)
        if not allowed(stored.value):
            raise InvalidRequest(
                f"Auto deployment disabled for this model, please deploy model first Model ID: {stored.id}"
            )
        planned = stored.value.planning_worker_nodes
        named = planned if planned and not stored.value.deploy_to_all_nodes else None
        log.info("deploying on first use", action="model.auto_deploy", model_id=stored.id)
        await self._deploys.begin(stored.id, named)
        self._known.forget(stored.id)


def allowed(model: Model) -> bool:
    """What `deploy_setting.is_auto_deploy_enabled` says; without it: yes."""
    said = (model.deploy_setting or {}).get("is_auto_deploy_enabled")
    return said is None or str(said).lower() != "false"
