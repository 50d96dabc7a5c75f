"""Who may see and use which model group."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.model import Model, ModelGroup
from bridge.domain.tensor import MLInput
from bridge.errors import BridgeError, Forbidden, NotFound
from bridge.models.access_rules import AccessMode, may_use
from bridge.models.permissions import PREDICT, MlRoles
from bridge.store.documents import Documents, Stored

NO_PRIVILEGE = "User doesn't have privilege to perform this operation on this model"
KEEP_SECONDS = 2.0
"""How old a group may be by which a predict is judged; everything else reads it anew."""
_MOST_LISTED = 10_000
_MOST_KEPT = 1000
_NOT_PUBLIC: dict[str, Any] = {"bool": {"must_not": [{"term": {"access": AccessMode.PUBLIC.value}}]}}


class Access:
    """The rules of ML Commons for public, restricted and private groups.

    They hold when the cluster has the security plugin (a caller is given) and `model_access_control_enabled` is on.
    `permissions` say by the names of roles who may do what at all; set by the composition root.
    """

    def __init__(
        self,
        groups: Documents[ModelGroup],
        settings: CurrentSettings,
        models: Documents[Model] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = groups
        self._settings = settings
        self._models = models
        self._clock = clock
        self._recent: OrderedDict[str, tuple[float, ModelGroup]] = OrderedDict()
        self.permissions = MlRoles()

    def enabled(self, caller: Caller | None) -> bool:
        """Whether groups that he makes have an owner and an access mode."""
        return caller is not None and self._settings.current.model_access_control_enabled

    def applies(self, caller: Caller | None) -> bool:
        """Whether anything has to be checked for this caller."""
        return caller is not None and not caller.admin and self.enabled(caller)

    async def allows(self, caller: Caller | None, group_id: str | None) -> bool:
        """Whether he may see and use models of this group. Raises NotFound when there is no such group."""
        if caller is None or group_id is None or not self.applies(caller):
            return True
        return may_use(caller, await self._group(group_id))

    async def check(self, caller: Caller | None, group_id: str | None, *, refusal: BridgeError | None = None) -> None:
        """Raises Forbidden (or `refusal`) when the caller may not use models of this group; no group: everybody may.

        Raises NotFound when there is no such group and something has to be checked.
        """
        if not await self.allows(caller, group_id):
            raise refusal or Forbidden(NO_PRIVILEGE)

    async def check_model(self, caller: Caller | None, model_id: str | None) -> None:
        """Like `check` for the group of this model; a model that is not there has nothing to hide."""
        if model_id is None or self._models is None or not self.applies(caller):
            return
        stored = await self._models.get(model_id)
        if stored is not None:
            await self.check(caller, stored.value.model_group_id)

    async def search_filter(self, caller: Caller | None) -> dict[str, Any] | None:
        """A query that leaves only models (and their chunks) that the caller may see; None: all of them."""
        hidden = await self._hidden_groups(caller)
        if hidden is None:
            return None
        models = await self._models_of(hidden)
        if max(len(hidden), len(models)) >= _MOST_LISTED:
            # More than can be named: what belongs to no group and to no model is certainly his to see.
            return _without_any("model_group_id", "model_id")
        # Chunks of a registration by URL name their model only.
        return _without({"terms": {"model_group_id": hidden}}, {"terms": {"model_id": models}})

    async def group_filter(self, caller: Caller | None) -> dict[str, Any] | None:
        """A query that leaves only groups that the caller may see; None: all of them."""
        hidden = await self._hidden_groups(caller)
        if hidden is None:
            return None
        if len(hidden) >= _MOST_LISTED:
            return {"term": {"access": AccessMode.PUBLIC.value}}
        return _without({"ids": {"values": hidden}})

    async def task_filter(self, caller: Caller | None) -> dict[str, Any] | None:
        """A query that leaves only tasks whose model the caller may see, or that have none; None: all of them."""
        hidden = await self._hidden_groups(caller)
        if hidden is None:
            return None
        models = await self._models_of(hidden)
        if max(len(hidden), len(models)) >= _MOST_LISTED:
            return _without_any("model_id")
        return _without({"terms": {"model_id": models}})

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """See bridge.models.predictor.Guard."""
        self.permissions.check(caller, PREDICT)
        group_id = stored.value.model_group_id
        if caller is None or group_id is None or not self.applies(caller):
            return
        seen = self._recent.get(group_id)
        group = seen[1] if seen and self._clock() - seen[0] < KEEP_SECONDS else await self._group(group_id)
        if not may_use(caller, group):
            raise Forbidden(NO_PRIVILEGE)

    async def _group(self, group_id: str) -> ModelGroup:
        stored = await self._groups.get(group_id)
        if stored is None:
            self._recent.pop(group_id, None)
            raise NotFound("Fail to find model group")
        self._recent[group_id] = (self._clock(), stored.value)
        self._recent.move_to_end(group_id)
        if len(self._recent) > _MOST_KEPT:
            self._recent.popitem(last=False)
        return stored.value

    async def _hidden_groups(self, caller: Caller | None) -> list[str] | None:
        if caller is None or not self.applies(caller):
            return None
        found = await self._groups.search(_NOT_PUBLIC, size=_MOST_LISTED)
        if len(found) >= _MOST_LISTED:
            return [stored.id for stored in found]
        return [stored.id for stored in found if not may_use(caller, stored.value)]

    async def _models_of(self, groups: list[str]) -> list[str]:
        if self._models is None or not groups:
            return []
        return list(await self._models.ids({"terms": {"model_group_id": groups}}, size=_MOST_LISTED))


def _without(*queries: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"must_not": list(queries)}}


def _without_any(*fields: str) -> dict[str, Any]:
    return _without(*({"exists": {"field": field}} for field in fields))
