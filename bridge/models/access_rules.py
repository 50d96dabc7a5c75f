"""The rules of ML Commons for the access to model groups, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.model import ModelGroup
from bridge.errors import InvalidRequest, Unparsable
from bridge.wire import from_document

SWITCHED_OFF = (
    "You cannot specify model access control parameters because the Security plugin or model access control"
    " is disabled on your cluster."
)
_ONLY_RESTRICTED = "You can specify backend roles only for a model group with the restricted access mode."
_NOT_BOTH = "You cannot specify backend roles and add all backend roles at the same time."
_NOT_ADMIN = "Admin users cannot add all backend roles to a model group."
_ROLES_MISSING = (
    "You must specify one or more backend roles or add all backend roles to register a restricted model group."
)
_NOT_HIS = "You don't have the backend roles specified."


class AccessMode(StrEnum):
    """Who may see and use a group's models: everybody, its owner, or who shares a backend role with it."""

    PUBLIC = "public"
    PRIVATE = "private"
    RESTRICTED = "restricted"


_MODES = {mode.value: mode for mode in AccessMode}


@dataclass(frozen=True, kw_only=True)
class AccessFields:
    """What a request says about access; None where it says nothing."""

    mode: AccessMode | None = None
    backend_roles: tuple[str, ...] | None = None
    add_all_backend_roles: bool | None = None

    @property
    def said(self) -> bool:
        """Whether it says anything; an empty list of roles says nothing."""
        return self.mode is not None or self.add_all_backend_roles is not None or bool(self.backend_roles)

    @property
    def changes(self) -> bool:
        """Whether it would change a group; an empty list of roles would."""
        return self.said or self.backend_roles is not None


@dataclass(frozen=True, kw_only=True)
class _Read:
    backend_roles: tuple[str, ...] | None = None
    add_all_backend_roles: bool | None = None


def read_fields(body: Mapping[str, Any]) -> AccessFields:
    """`access_mode`, `backend_roles` and `add_all_backend_roles` of a body.

    An unknown mode says nothing, as in ML Commons. Raises Unparsable (roles that are no list) and InvalidRequest.
    """
    if "backend_roles" in body and not isinstance(body["backend_roles"], (list, type(None))):
        raise Unparsable("Failed to parse object: expecting token of type [START_ARRAY] for backend_roles")
    read = from_document(_Read, {name: body.get(name) for name in _Read.__dataclass_fields__})
    return AccessFields(
        mode=_MODES.get(str(body.get("access_mode")).lower()),
        backend_roles=read.backend_roles,
        add_all_backend_roles=read.add_all_backend_roles,
    )


def may_use(caller: Caller, group: ModelGroup) -> bool:
    """Whether he may see and use the group and its models; a group without an owner is everybody's."""
    if caller.admin or group.owner is None or group.access == AccessMode.PUBLIC:
        return True
    if group.access == AccessMode.RESTRICTED:
        return _shares_role(caller, group)
    return _owns(caller, group)


def for_new_group(caller: Caller, said: AccessFields) -> tuple[AccessMode, tuple[str, ...] | None]:
    """Mode and backend roles of a group that he registers. Raises InvalidRequest in ML Commons' words."""
    add_all, roles = said.add_all_backend_roles is True, said.backend_roles or ()
    if said.mode in (AccessMode.PUBLIC, AccessMode.PRIVATE):
        _refuse(add_all or bool(roles), _ONLY_RESTRICTED)
        return said.mode, None
    if said.mode is None and not add_all and not roles:
        return AccessMode.PRIVATE, None
    _refuse(said.mode is None and add_all and bool(roles), _NOT_BOTH)
    _refuse(caller.admin and add_all, _NOT_ADMIN)
    no_role = "You must have at least one backend role to register a restricted model group."
    _refuse(not caller.admin and not caller.backend_roles, no_role)
    _refuse(not roles and not add_all, _ROLES_MISSING)
    _refuse(bool(roles) and add_all, _NOT_BOTH)
    _refuse(not caller.admin and not set(roles) <= set(caller.backend_roles), _NOT_HIS)
    return AccessMode.RESTRICTED, caller.backend_roles if add_all else roles


def for_changed_group(caller: Caller, group: ModelGroup, said: AccessFields) -> dict[str, Any]:
    """What changes in `access` and `backend_roles` of a group that he updates, perhaps nothing.

    Raises InvalidRequest in ML Commons' words where he may not, or where what he says does not fit together.
    """
    _refuse_stranger(caller, group, said)
    add_all, roles = said.add_all_backend_roles is True, said.backend_roles or ()
    if said.mode in (AccessMode.PUBLIC, AccessMode.PRIVATE):
        _refuse(add_all or bool(roles), _ONLY_RESTRICTED)
        return {"access": said.mode.value, "backend_roles": None}
    _refuse_unfit(caller, said, add_all, roles)
    if said.mode is None and not add_all and said.backend_roles is None:
        return {}
    return {"access": AccessMode.RESTRICTED.value, "backend_roles": caller.backend_roles if add_all else roles}


def _refuse_stranger(caller: Caller, group: ModelGroup, said: AccessFields) -> None:
    if caller.admin:
        return
    owner = _owns(caller, group)
    _refuse(said.changes and not owner, "Only owner or admin can update access control data.")
    public = group.access == AccessMode.PUBLIC
    may = public or (group.access == AccessMode.RESTRICTED and _shares_role(caller, group))
    _refuse(not owner and not may, "You don't have permission to update this model group.")
    lost_role = (
        "You don't have the specified backend role to update this model group. For more information, contact your"
        " administrator."
    )
    _refuse(owner and group.access == AccessMode.RESTRICTED and not may, lost_role)


def _refuse_unfit(caller: Caller, said: AccessFields, add_all: bool, roles: tuple[str, ...]) -> None:
    _refuse(caller.admin and add_all, _NOT_ADMIN)
    _refuse(add_all and not caller.backend_roles, "You don't have any backend roles.")
    neither = "You have to specify backend roles when add all backend roles is set to false."
    _refuse(not roles and said.add_all_backend_roles is False, neither)
    _refuse(bool(roles) and add_all, _NOT_BOTH)
    _refuse(said.mode is AccessMode.RESTRICTED and not roles and not add_all, _ROLES_MISSING)
    # An empty list alone would leave a restricted group that nobody may use; ML Commons writes that.
    _refuse(said.backend_roles == () and not add_all, _ROLES_MISSING)
    _refuse(not caller.admin and not set(roles) <= set(caller.backend_roles), _NOT_HIS)


def _owns(caller: Caller, group: ModelGroup) -> bool:
    return group.owner is not None and group.owner.get("name") == caller.name


def _shares_role(caller: Caller, group: ModelGroup) -> bool:
    return not set(group.backend_roles or ()).isdisjoint(caller.backend_roles)


def _refuse(condition: bool, reason: str) -> None:
    if condition:
        raise InvalidRequest(reason)
