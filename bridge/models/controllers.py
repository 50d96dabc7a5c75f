"""Controllers: who may call a model how often. One document for each model, its id the model's."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import structlog

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.controller import Controller
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.errors import BridgeError, Conflict, Forbidden, InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models.access import Access
from bridge.models.known import KnownModels
from bridge.models.model_fields import rate_limiter
from bridge.store.documents import Documents, Stored

log = structlog.get_logger(__name__)

KEEP_SECONDS = 1.0
_MOST = 1000
_TRIES = 20
_SUPPORTED = (FunctionName.TEXT_EMBEDDING, FunctionName.REMOTE)
_KEY = "plugins.ml_commons.controller_enabled"
_OFF = f'Controller is currently disabled. To enable it, update the setting "{_KEY}" to true.'
_NO_PRIVILEGE = "User doesn't have privilege to perform this operation on this model controller. Model ID: {}"

Updated: TypeAlias = tuple[Stored[Controller], bool]


class Controllers:
    """Making, reading, changing and removing controllers, and the limits as predicts see them."""

    def __init__(
        self,
        controllers: Documents[Controller],
        models: Documents[Model],
        *,
        settings: CurrentSettings,
        access: Access,
        known: KnownModels,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controllers = controllers
        self._models = models
        self._settings = settings
        self._access = access
        self._known = known
        self._clock = clock
        self._recent: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()

    async def create(self, model_id: str, limits: Mapping[str, Any], caller: Caller | None) -> bool:
        """Write the controller, over an older one; True when there was none.

        Raises InvalidRequest, Forbidden, NotFound and Conflict.
        """
        self._check_enabled()
        model = await self._model(model_id)
        await self._check(model, caller, "Creating")
        if model.value.model_state is ModelState.DEPLOYING:
            raise Conflict(_while_deploying("Creating", "create", model_id))
        before = await self._controllers.get(model_id)
        await self._controllers.put(model_id, _controller(model_id, limits), refresh=True)
        await self._flag(model_id, True)
        return before is None

    async def get(self, model_id: str, caller: Caller | None) -> Controller:
        """Raises InvalidRequest, Forbidden and NotFound."""
        self._check_enabled()
        stored = await self._controllers.get(model_id)
        if stored is None:
            raise NotFound("Failed to find model controller with the provided model ID")
        model = await self._models.get(model_id)
        if model is None:
            raise NotFound("Failed to find model to get the corresponding model controller with the provided model ID")
        await self._check_access(model, caller)
        return stored.value

    async def update(self, model_id: str, limits: Mapping[str, Any], caller: Caller | None) -> Updated:
        """Merge: users that are not named keep their limits; False beside what stands when that changed nothing.

        Raises InvalidRequest, Forbidden, NotFound and Conflict.
        """
        self._check_enabled()
        model = await self._model(model_id)
        await self._check(model, caller, "Updating")
        for _ in range(_TRIES):
            stored = await self._controllers.get(model_id)
            if stored is None:
                raise Conflict(
                    "Model controller haven't been created for the model. Consider calling create model controller api"
                    f" instead. Model ID: {model_id}"
                )
            if model.value.model_state is ModelState.DEPLOYING:
                raise Conflict(_while_deploying("Updating", "update", model_id))
            before = stored.value.user_rate_limiter or {}
            merged = _merged(before, limits)
            if merged == before:
                return stored, False
            try:
                written = await self._controllers.replace(stored, _controller(model_id, merged), refresh=True)
            except VersionConflict:
                continue
            self._recent.pop(model_id, None)
            return written, True
        raise Unavailable("the controller is being written by too many at once")

    async def delete(self, model_id: str, caller: Caller | None) -> Stored[Controller]:
        """The controller that was removed. Raises InvalidRequest, Forbidden and NotFound."""
        self._check_enabled()
        model = await self._models.get(model_id)
        if model is not None:
            await self._check_access(model, caller)
        stored = await self._controllers.get(model_id)
        if stored is None:
            raise NotFound("Failed to find model controller")
        await self._controllers.delete(model_id, refresh=True)
        await self._flag(model_id, False)
        return stored

    async def limiter(self, stored: Stored[Model], caller: Caller | None) -> Mapping[str, Any] | None:
        """This caller's limiter for the model, about a second old at most; the last known one while nothing answers."""
        if caller is None or not stored.value.is_controller_enabled or not self._settings.current.controller_enabled:
            return None
        found = (await self._limits(stored.id)).get(caller.name)
        return found if isinstance(found, Mapping) else None

    async def _limits(self, model_id: str) -> Mapping[str, Any]:
        seen = self._recent.get(model_id)
        if seen is not None and self._clock() - seen[0] < KEEP_SECONDS:
            return seen[1]
        try:
            stored = await self._controllers.get(model_id)
        except BridgeError as error:
            log.warning("controller not read", action="controller.read", model_id=model_id, reason=error.reason)
            return {} if seen is None else seen[1]
        limits = {} if stored is None else stored.value.user_rate_limiter or {}
        self._recent[model_id] = (self._clock(), limits)
        self._recent.move_to_end(model_id)
        while len(self._recent) > _MOST:
            self._recent.popitem(last=False)
        return limits

    async def _model(self, model_id: str) -> Stored[Model]:
        """For a write; ML Commons says "create" for an update, too."""
        model = await self._models.get(model_id)
        if model is None:
            raise NotFound(
                "Failed to find model to create the corresponding model controller with the provided model ID"
            )
        return model

    async def _flag(self, model_id: str, on: bool) -> None:
        """Write `is_controller_enabled` into the model, so that only predicts of such models look for a controller."""
        self._recent.pop(model_id, None)
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None or stored.value.is_controller_enabled is on:
                break
            try:
                await self._models.replace(stored, replace(stored.value, is_controller_enabled=on), refresh=True)
            except VersionConflict:
                continue
            break
        self._known.forget(model_id)

    def _check_enabled(self) -> None:
        if not self._settings.current.controller_enabled:
            raise InvalidRequest(_OFF, kind="illegal_state_exception")

    async def _check(self, model: Stored[Model], caller: Caller | None, doing: str) -> None:
        if model.value.algorithm not in _SUPPORTED:
            raise Forbidden(
                f"{doing} model controller on this operation on the function category {model.value.algorithm} is not"
                " supported."
            )
        await self._check_access(model, caller)

    async def _check_access(self, model: Stored[Model], caller: Caller | None) -> None:
        refusal = Forbidden(_NO_PRIVILEGE.format(model.id))
        await self._access.check(caller, model.value.model_group_id, refusal=refusal)


def read_limits(body: Mapping[str, Any]) -> dict[str, Any]:
    """The `user_rate_limiter` of a body, empty limiters left out. Raises InvalidRequest."""
    said = body.get("user_rate_limiter")
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise InvalidRequest("user_rate_limiter must be an object of user names and rate limiters")
    read = {user: rate_limiter(limiter) for user, limiter in said.items()}
    return {user: limiter for user, limiter in read.items() if limiter}


def _controller(model_id: str, limits: Mapping[str, Any]) -> Controller:
    return Controller(model_id=model_id, user_rate_limiter=dict(limits))


def _merged(before: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    changed = {user: {**before.get(user, {}), **limiter} for user, limiter in limits.items()}
    return {**before, **changed}


def _while_deploying(doing: str, do: str, model_id: str) -> str:
    return (
        f"{doing} a model controller during its corresponding model in DEPLOYING state is not allowed, please either"
        f" {do} the model controller after it is deployed or before deploying it. Model ID: {model_id}"
    )
