"""Model groups: named lines of model versions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import FixedSettings
from bridge.domain.model import Model, ModelGroup
from bridge.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models.access import Access
from bridge.models.access_rules import (
    SWITCHED_OFF,
    AccessFields,
    AccessMode,
    for_changed_group,
    for_new_group,
    may_use,
)
from bridge.models.identifier import derived_id, random_id
from bridge.models.naming import check_text
from bridge.store.documents import Documents, Stored

TAKEN = "The name you provided is already being used by a model group with ID: {id}."
TAKEN_BY_ANOTHER = (
    "The name you provided is already being used by another model with ID: {id}. Please provide a different name"
)
NOTHING_SAID = AccessFields()
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What a registration says about its group; `pretrained`: it names a model of the repository, no URL."""

    name: str
    model_group_id: str | None = None
    description: str | None = None
    pretrained: bool = False


@dataclass(frozen=True)
class Place:
    """Where a registration stands: its group and its version number in it."""

    group_id: str
    version: int


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Groups:
    """Groups in the cluster; every change is a compare-and-set.

    Where a caller is given, he is judged by the rules of bridge/models/access_rules.py while access control is on.
    """

    def __init__(self, groups: Documents[ModelGroup], models: Documents[Model], access: Access | None = None) -> None:
        self._groups = groups
        self._models = models
        self._access = access or Access(groups, FixedSettings(), models)

    async def get(self, group_id: str, *, caller: Caller | None = None) -> Stored[ModelGroup]:
        """Raises NotFound, Forbidden."""
        found = await self._groups.get(group_id)
        if found is None:
            raise NotFound(f"Failed to find model group with the provided model group id: {group_id}")
        if caller is not None and self._access.applies(caller) and not may_use(caller, found.value):
            raise Forbidden("User doesn't have privilege to perform this operation on this model group")
        return found

    async def create(
        self, fields: ModelGroup, *, said: AccessFields = NOTHING_SAID, caller: Caller | None = None
    ) -> str:
        """Register a group, which `caller` owns while access control is on; gives its id.

        Raises InvalidRequest for a bad or taken name, and for access fields that do not fit.
        """
        check_text("Model group name", fields.name, required=True)
        check_text("Model group description", fields.description)
        await self._must_be_free(fields.name, TAKEN)
        made = replace(fields, latest_version=0, **self._owned(said, caller))
        made = replace(made, created_time=now_ms(), last_updated_time=now_ms())
        try:
            # An id that follows from the name lets the cluster refuse the second of two simultaneous calls.
            stored = await self._groups.create(made, id=derived_id("group", fields.name), refresh=True)
        except VersionConflict:
            await self._must_be_free(fields.name, TAKEN)
            stored = await self._groups.create(made, id=random_id(), refresh=True)
        return stored.id

    async def update(
        self,
        group_id: str,
        changes: dict[str, Any],
        *,
        said: AccessFields = NOTHING_SAID,
        caller: Caller | None = None,
    ) -> None:
        """Change name, description and access. Raises NotFound, InvalidRequest; blank texts change nothing."""
        told = {name: text for name, text in changes.items() if text and text.strip()}
        check_text("Model group name", told.get("name"))
        check_text("Model group description", told.get("description"))
        for _ in range(_TRIES):
            stored = await self.get(group_id)
            access = self._changed_access(stored.value, said, caller)
            if told.get("name", stored.value.name) != stored.value.name:
                await self._must_be_free(told["name"], TAKEN_BY_ANOTHER)
            value = replace(stored.value, **told, **access, last_updated_time=now_ms())
            try:
                await self._groups.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            return
        raise Unavailable(f"model group {group_id} is being written by too many at once")

    async def delete(self, group_id: str, *, caller: Caller | None = None) -> Stored[ModelGroup] | None:
        """Remove an empty group; None when there was none. Raises Forbidden, and Conflict while models belong to it."""
        stored = await self._groups.get(group_id)
        if stored and caller is not None and self._access.applies(caller) and not may_use(caller, stored.value):
            raise Forbidden("User doesn't have privilege to delete this model group")
        await self._models.refresh()
        members = {"bool": {"filter": [{"term": {"model_group_id": group_id}}]}}
        if await self._models.search(members, size=1):
            raise Conflict("Cannot delete the model group when it has associated model versions")
        if stored is not None:
            await self._groups.delete(group_id, refresh=True)
        return stored

    async def place(self, name: str, group_id: str | None, description: str | None = None) -> Place:
        """Take the next version number, in the given group or in the one called `name` (made when there is none, with
        the model's description).

        Raises NotFound for an unknown group.
        """
        for _ in range(_TRIES):
            stored = await self._groups.get(group_id) if group_id else await self._called(name)
            if stored is None and group_id:
                raise NotFound("Model group not found")
            try:
                stored = stored or await self._made_for(name, description)
                version = stored.value.latest_version + 1
                value = replace(stored.value, latest_version=version, last_updated_time=now_ms())
                await self._groups.replace(stored, value, refresh=True)
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

    async def admit(self, caller: Caller | None, asked: Registration, said: AccessFields = NOTHING_SAID) -> str | None:
        """The group into which `caller` registers a model, made in his name where there is none yet.

        None while access control is off: `place` finds or makes the group then. A group made here has the id by which
        `give_back` knows it. Raises InvalidRequest in ML Commons' words, and NotFound for an unknown id.
        """
        if caller is None or not self._access.enabled(caller):
            if said.said:
                raise InvalidRequest(SWITCHED_OFF)
            return asked.model_group_id
        if asked.model_group_id is not None:
            no_right = InvalidRequest("You don't have permissions to perform this operation on this model.")
            await self._access.check(caller, asked.model_group_id, refusal=no_right)
            return asked.model_group_id
        found = await self._called(asked.name) or await self._made_for(
            asked.name, asked.description, **self._owned(said, caller)
        )
        if not may_use(caller, found.value):
            raise InvalidRequest(_unavailable_name(asked, found.id))
        return found.id

    def _owned(self, said: AccessFields, caller: Caller | None) -> dict[str, Any]:
        if caller is None or not self._access.enabled(caller):
            if said.said:
                raise InvalidRequest(SWITCHED_OFF)
            return {"access": AccessMode.PUBLIC.value}
        mode, roles = for_new_group(caller, said)
        return {"access": mode.value, "backend_roles": roles, "owner": caller.owner()}

    def _changed_access(self, group: ModelGroup, said: AccessFields, caller: Caller | None) -> dict[str, Any]:
        if caller is None or not self._access.enabled(caller):
            if said.said:
                raise InvalidRequest(SWITCHED_OFF)
            return {}
        return for_changed_group(caller, group, said)

    async def _called(self, name: str) -> Stored[ModelGroup] | None:
        automatic = await self._groups.get(_auto_id(name))
        if automatic is not None and automatic.value.name == name:
            return automatic
        found = await self._groups.search({"term": {"name.keyword": name}}, size=1)
        return await self._groups.get(found[0].id) if found else None

    async def _made_for(self, name: str, description: str | None, **owned: Any) -> Stored[ModelGroup]:
        """A new group of this name, or the one that somebody else has made meanwhile."""
        made = ModelGroup(name=name, description=description, created_time=now_ms(), last_updated_time=now_ms())
        made = replace(made, **owned or {"access": AccessMode.PUBLIC.value})
        try:
            return await self._groups.create(made, id=_auto_id(name), refresh=True)
        except VersionConflict:
            # The group with that id may be called otherwise by now.
            return await self._called(name) or await self._groups.create(made, id=random_id(), refresh=True)

    async def _must_be_free(self, name: str, problem: str) -> None:
        taken = await self._called(name)
        if taken is not None:
            raise InvalidRequest(problem.format(id=taken.id))


def _auto_id(name: str) -> str:
    return derived_id("automatic group", name)


def _unavailable_name(asked: Registration, group_id: str) -> str:
    if asked.pretrained:
        return (
            f"Without a model group ID, the system will use the model name {{{asked.name}}} to create a new model"
            f" group. However, this name is taken by another group with id {{{group_id}}} you can't access. To register"
            " this pre-trained model, create a new model group and use its ID in your request."
        )
    return (
        f"The name {{{asked.name}}} you provided is unavailable because it is used by another model group with id"
        f" {{{group_id}}} to which you do not have access. Please provide a different name."
    )
