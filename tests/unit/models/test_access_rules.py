"""Who may see, use and change which model group: ML Commons' rules and texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.caller import Caller
from bridge.domain.model import ModelGroup
from bridge.errors import InvalidRequest, Unparsable
from bridge.models.access_rules import (
    AccessFields,
    AccessMode,
    for_changed_group,
    for_new_group,
    may_use,
    read_fields,
)

ADA = Caller(name="ada", backend_roles=("research", "staff"))
BOB = Caller(name="bob", backend_roles=("sales",))
LONER = Caller(name="loner")
ADMIN = Caller(name="root", roles=("all_access",), admin=True)


def group(access: str | None, *roles: str, owner: Caller | None = ADA) -> ModelGroup:
    return ModelGroup(name="g", access=access, backend_roles=roles or None, owner=owner.owner() if owner else None)


@pytest.mark.parametrize(
    ("caller", "which", "may"),
    [
        (BOB, group("public"), True),
        (BOB, group("private"), False),
        (ADA, group("private"), True),
        (ADMIN, group("private"), True),
        (BOB, group("restricted", "research"), False),
        (BOB, group("restricted", "research", "sales"), True),
        (ADA, group("restricted", "sales"), False),  # she has lost the role that she once gave it
        (ADMIN, group("restricted", "research"), True),
        (BOB, group("private", owner=None), True),  # made while nobody was asked who he is
        (BOB, group(None), False),
        (BOB, group("restricted"), False),
    ],
)
def test_who_may_use_a_group(caller: Caller, which: ModelGroup, may: bool) -> None:
    assert may_use(caller, which) is may


@pytest.mark.parametrize(
    ("caller", "body", "made"),
    [
        (ADA, {}, ("private", None)),
        (ADA, {"access_mode": "PUBLIC"}, ("public", None)),
        (ADA, {"access_mode": "weird"}, ("private", None)),
        (ADA, {"backend_roles": ["staff"]}, ("restricted", ("staff",))),
        (ADA, {"add_all_backend_roles": True}, ("restricted", ("research", "staff"))),
        (ADA, {"access_mode": "restricted", "add_all_backend_roles": "true"}, ("restricted", ("research", "staff"))),
        (ADA, {"add_all_backend_roles": False}, ("private", None)),
        (ADMIN, {"access_mode": "restricted", "backend_roles": ["anything"]}, ("restricted", ("anything",))),
    ],
)
def test_what_a_new_group_becomes(caller: Caller, body: dict[str, Any], made: tuple[str, Any]) -> None:
    assert for_new_group(caller, read_fields(body)) == made


@pytest.mark.parametrize(
    ("caller", "body", "reason"),
    [
        (ADA, {"access_mode": "public", "backend_roles": ["staff"]}, "only for a model group with the restricted"),
        (ADA, {"access_mode": "private", "add_all_backend_roles": True}, "only for a model group with the restricted"),
        (ADA, {"backend_roles": ["staff"], "add_all_backend_roles": True}, "at the same time"),
        (ADA, {"access_mode": "restricted"}, "You must specify one or more backend roles or add all"),
        (ADA, {"backend_roles": ["sales"]}, "You don't have the backend roles specified."),
        (LONER, {"backend_roles": ["sales"]}, "You must have at least one backend role to register"),
        (ADMIN, {"add_all_backend_roles": True}, "Admin users cannot add all backend roles"),
    ],
)
def test_a_new_group_refused(caller: Caller, body: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        for_new_group(caller, read_fields(body))


@pytest.mark.parametrize(
    ("caller", "which", "body", "changes"),
    [
        (ADA, group("private"), {}, {}),
        (BOB, group("public"), {}, {}),
        (BOB, group("restricted", "sales"), {}, {}),
        (ADA, group("restricted", "staff"), {"access_mode": "public"}, {"access": "public", "backend_roles": None}),
        (ADA, group("private"), {"backend_roles": ["staff"]}, {"access": "restricted", "backend_roles": ("staff",)}),
        (
            ADA,
            group("public"),
            {"add_all_backend_roles": True},
            {"access": "restricted", "backend_roles": ("research", "staff")},
        ),
        (ADMIN, group("private"), {"access_mode": "private"}, {"access": "private", "backend_roles": None}),
    ],
)
def test_what_an_update_changes(
    caller: Caller, which: ModelGroup, body: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert for_changed_group(caller, which, read_fields(body)) == changes


@pytest.mark.parametrize(
    ("caller", "which", "body", "reason"),
    [
        (BOB, group("private"), {}, "You don't have permission to update this model group."),
        (BOB, group("restricted", "staff"), {}, "You don't have permission to update this model group."),
        (BOB, group("public"), {"access_mode": "private"}, "Only owner or admin can update access control data."),
        (BOB, group("public"), {"backend_roles": []}, "Only owner or admin can update access control data."),
        (ADA, group("restricted", "sales"), {}, "You don't have the specified backend role to update"),
        (ADA, group("private"), {"access_mode": "private", "backend_roles": ["staff"]}, "only for a model group with"),
        (ADA, group("private"), {"add_all_backend_roles": False}, "You have to specify backend roles when add all"),
        (ADA, group("private"), {"backend_roles": []}, "You must specify one or more backend roles"),
        (ADA, group("private"), {"access_mode": "restricted"}, "You must specify one or more backend roles"),
        (ADA, group("private"), {"backend_roles": ["staff"], "add_all_backend_roles": True}, "at the same time"),
        (ADA, group("private"), {"backend_roles": ["sales"]}, "You don't have the backend roles specified."),
        (LONER, group("private", owner=LONER), {"add_all_backend_roles": True}, "You don't have any backend roles."),
        (ADMIN, group("private"), {"add_all_backend_roles": True}, "Admin users cannot add all backend roles"),
    ],
)
def test_an_update_refused(caller: Caller, which: ModelGroup, body: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        for_changed_group(caller, which, read_fields(body))


def test_fields_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(Unparsable, match="START_ARRAY"):
        read_fields({"backend_roles": "staff"})
    with pytest.raises(InvalidRequest, match=r"only \[true\] or \[false\]"):
        read_fields({"add_all_backend_roles": "perhaps"})
    assert not read_fields({"backend_roles": []}).said
    assert read_fields({"backend_roles": []}).changes


ROLES = st.lists(st.sampled_from(["research", "staff", "sales"]), unique=True).map(tuple)
CALLERS = st.builds(Caller, name=st.sampled_from(["ada", "bob"]), backend_roles=ROLES)
FIELDS = st.builds(
    AccessFields,
    mode=st.none() | st.sampled_from(AccessMode),
    backend_roles=st.none() | ROLES,
    add_all_backend_roles=st.none() | st.booleans(),
)


@given(CALLERS, FIELDS, CALLERS, FIELDS)
def test_who_makes_or_changes_a_group_can_use_it_and_only_its_owner_opens_it(
    maker: Caller, said: AccessFields, other: Caller, later: AccessFields
) -> None:
    try:
        mode, roles = for_new_group(maker, said)
    except InvalidRequest:
        return
    made = ModelGroup(name="g", access=mode.value, backend_roles=roles, owner=maker.owner())
    assert may_use(maker, made)
    try:
        changes = for_changed_group(other, made, later)
    except InvalidRequest:
        return
    assert may_use(other, made)
    assert not changes or other.name == maker.name
    assert may_use(other, replace(made, **changes))
