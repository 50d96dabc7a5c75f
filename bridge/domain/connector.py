"""Connectors: how a remote model is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Connector:
    """A connector's document, fields in the order in which ML Commons prints them.

    `parameters` are texts (objects as JSON text), `credential` values are encrypted; `actions` and `client_config` are
    the JSON objects they are on the wire. Inside a model document the same object stands under `connector`; there it
    may lack a name.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    protocol: str | None = None
    parameters: dict[str, str] | None = None
    credential: dict[str, str] | None = None
    actions: tuple[dict[str, Any], ...] | None = None
    backend_roles: tuple[str, ...] | None = None
    owner: dict[str, Any] | None = None
    access: str | None = None
    created_time: int | None = None
    last_updated_time: int | None = None
    client_config: dict[str, Any] | None = None
    tenant_id: str | None = None
