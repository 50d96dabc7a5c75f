"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CALLER = "bridge.caller"
"""Under this name a web request carries its caller; absent or None: nobody has to be asked (see Caller)."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A user as the cluster itself describes him (`authinfo` of the security plugin), never as a header says.

    Where a `Caller | None` is taken, None means: the cluster has no security plugin, or the bridge asks for itself, and
    everything is allowed. `admin` is True for who may see everything (role `all_access`, or the admin certificate).
    """

    name: str
    backend_roles: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    admin: bool = False

    def owner(self) -> dict[str, Any]:
        """The `owner` object of a document that he makes, as ML Commons writes it."""
        return {
            "name": self.name,
            "backend_roles": list(self.backend_roles),
            "roles": list(self.roles),
            "custom_attribute_names": [],
        }
