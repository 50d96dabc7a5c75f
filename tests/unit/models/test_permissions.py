"""What the names of a caller's roles let him do."""

from __future__ import annotations

import pytest

from bridge.domain.caller import Caller
from bridge.errors import Forbidden, error_body
from bridge.models.permissions import PREDICT, READS, MlRoles
from bridge.rest.permissions import PERMISSIONS

ROLES = MlRoles.named("ml_full_access, data_team")
WRITES = set(PERMISSIONS.values()) - READS


def who(*roles: str, admin: bool = False) -> Caller:
    return Caller(name="ada", backend_roles=("a", "b"), roles=roles, admin=admin)


@pytest.mark.parametrize("caller", [None, who("ml_full_access"), who("own_index", "data_team"), who(admin=True)])
def test_full_access(caller: Caller | None) -> None:
    for permission in PERMISSIONS.values():
        ROLES.check(caller, permission)


def test_read_access() -> None:
    assert {"models/get", "models/search", "tasks/get", "stats/nodes"} <= set(PERMISSIONS.values()) & READS
    for permission in set(PERMISSIONS.values()) & READS:
        ROLES.check(who("ml_read_access"), permission)
    assert {PREDICT, "models/delete", "register_model"} <= WRITES
    for permission in WRITES:
        with pytest.raises(Forbidden):
            ROLES.check(who("ml_read_access"), permission)


def test_a_refusal_reads_as_the_security_plugins() -> None:
    with pytest.raises(Forbidden) as refused:
        ROLES.check(who("own_index"), "models/get")
    cause = error_body(refused.value)["error"]
    user = "User [name=ada, backend_roles=[a, b], requestedTenant=null]"
    reason = f"no permissions for [cluster:admin/opensearch/ml/models/get] and {user}"
    assert (cause["type"], cause["reason"]) == ("security_exception", reason)


def test_nobody_is_asked_for_a_role_by_default() -> None:
    for roles in ("", " , "):
        MlRoles.named(roles).check(who(), "models/delete")
