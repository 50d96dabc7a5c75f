"""What callers may do by the names of their roles, since nobody can be asked for ML permissions (docs/security.md)."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.domain.caller import Caller
from bridge.errors import Forbidden

PREFIX = "cluster:admin/opensearch/ml/"
PREDICT = "predict"
READS = frozenset(
    f"{kind}/{action}"
    for kind in ("models", "model_groups", "connectors", "tasks", "controllers")
    for action in ("get", "search")
) | {"profile/nodes", "stats/nodes"}
"""What the security plugin's role `ml_read_access` allows, of what the bridge serves."""
READ_ROLE = "ml_read_access"


@dataclass(frozen=True)
class MlRoles:
    """Roles in `full`, and admins, may do everything, READ_ROLE may read; while `full` is empty all may do all."""

    full: frozenset[str] = frozenset()

    @classmethod
    def named(cls, roles: str) -> MlRoles:
        """From names separated by commas."""
        return cls(frozenset(role.strip() for role in roles.split(",") if role.strip()))

    def check(self, caller: Caller | None, permission: str) -> None:
        """`permission` is ML Commons' name without PREFIX. Raises Forbidden in the security plugin's words."""
        if not self.full or caller is None or caller.admin or not self.full.isdisjoint(caller.roles):
            return
        if permission in READS and READ_ROLE in caller.roles:
            return
        roles = ", ".join(caller.backend_roles)
        user = f"User [name={caller.name}, backend_roles=[{roles}], requestedTenant=null]"
        raise Forbidden(f"no permissions for [{PREFIX}{permission}] and {user}", kind="security_exception")
