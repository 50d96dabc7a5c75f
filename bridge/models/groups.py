"""Model groups: named lines of model versions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from bridge.domain.model import Model, ModelGroup
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models.identifier import derived_id, random_id
from bridge.models.naming import check_text
from bridge.store.documents import Documents, Stored

_TRIES = 20


class NamelessGroup(BridgeError):
    """ML Commons answers 500 when a group's name is missing."""

    status = 500
    default_kind = "null_pointer_exception"


@dataclass(frozen=True)
class Place:
    """Where a registration stands: its group and its version number in it."""

    group_id: str
    version: int


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Groups:
    """Groups in the cluster; every change is a compare-and-set."""

    def __init__(self, groups: Documents[ModelGroup], models: Documents[Model]) -> None:
        self._groups = groups
        self._models = models

    async def get(self, group_id: str) -> Stored[ModelGroup]:
        """Raises NotFound."""
        found = await self._groups.get(group_id)
        if found is None:
            raise NotFound(f"Failed to find model group with the provided model group id: {group_id}")
        return found

    async def create(self, fields: ModelGroup) -> str:
        """Register a group; gives its id. Raises InvalidRequest for a bad or taken name."""
        check_text("Model group name", fields.name, required=True)
        check_text("Model group description", fields.description)
        await self._must_be_free(fields.name)
        made = replace(fields, latest_version=0, access="public", created_time=now_ms(), last_updated_time=now_ms())
        try:
            # An id that follows from the name lets the cluster refuse the second of two simultaneous calls.
            stored = await self._groups.create(made, id=derived_id("group", fields.name), refresh=True)
        except VersionConflict:
            await self._must_be_free(fields.name)
            stored = await self._groups.create(made, id=random_id(), refresh=True)
        return stored.id

    async def update(self, group_id: str, changes: dict[str, Any]) -> None:
        """Change name and description. Raises NotFound, InvalidRequest."""
        for _ in range(_TRIES):
            stored = await self.get(group_id)
            name = changes.get("name")
            if name is not None and name != stored.value.name:
                check_text("Model group name", name, required=True)
                await self._must_be_free(name)
            check_text("Model group description", changes.get("description"))
            value = replace(stored.value, **changes, last_updated_time=now_ms())
            try:
                await self._groups.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            return
        raise Unavailable(f"model group {group_id} is being written by too many at once")

    async def delete(self, group_id: str) -> Stored[ModelGroup] | None:
        """Remove an empty group; None when there was none. Raises Conflict while models belong to it."""
        stored = await self._groups.get(group_id)
        await self._models.refresh()
        members = {"bool": {"filter": [{"term": {"model_group_id": group_id}}]}}
        if await self._models.search(members, size=1):
            raise Conflict("Cannot delete the model group when it has associated model versions")
        if stored is not None:
            await self._groups.delete(group_id, refresh=True)
        return stored

    async def place(self, name: str, group_id: str | None) -> Place:
        """Take the next version number, in the given group or in the one called `name` (made when there is none).

        Raises NotFound for an unknown group.
        """
        for _ in range(_TRIES):
            stored = await self._groups.get(group_id) if group_id else await self._called(name)
            if stored is None and group_id:
                raise NotFound("Model group not found")
            try:
                stored = stored or await self._made_for(name)
                version = stored.value.latest_version + 1
                value = replace(stored.value, latest_version=version, last_updated_time=now_ms())
                await self._groups.replace(stored, value)
            except VersionConflict:
                continue
            return Place(stored.id, version)
        raise Unavailable(f"the model group of {name} is being written by too many at once")

    async def give_back(self, place: Place) -> None:
        """Undo `place` after a failed registration, unless a later one has moved the counter on meanwhile.

        A group that was made for this very registration goes away again.
        """
        stored = await self._groups.get(place.group_id)
        if stored is None or stored.value.latest_version != place.version:
            return
        own = place.version == 1 and stored.id == _auto_id(stored.value.name)
        try:
            if own:
                await self._groups.delete(stored.id, version=stored.version, refresh=True)
            else:
                await self._groups.replace(stored, replace(stored.value, latest_version=place.version - 1))
        except VersionConflict:
            # Another registration took the next number: the group is theirs now, and the gap harms nobody.
            return

    async def _called(self, name: str) -> Stored[ModelGroup] | None:
        automatic = await self._groups.get(_auto_id(name))
        if automatic is not None and automatic.value.name == name:
            return automatic
        found = await self._groups.search({"term": {"name.keyword": name}}, size=1)
        return await self._groups.get(found[0].id) if found else None

    async def _made_for(self, name: str) -> Stored[ModelGroup]:
        made = ModelGroup(name=name, access="public", created_time=now_ms(), last_updated_time=now_ms())
        return await self._groups.create(made, id=_auto_id(name), refresh=True)

    async def _must_be_free(self, name: str) -> None:
        taken = await self._called(name)
        if taken is not None:
            raise InvalidRequest(f"The name you provided is already being used by a model group with ID: {taken.id}.")


def _auto_id(name: str) -> str:
    return derived_id("automatic group", name)
