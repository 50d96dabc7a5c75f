"""`/_plugins/_ml/config`: what ML Commons has left in its configuration index, but for its master key."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.errors import InvalidRequest, NotFound
from bridge.rest.answers import answer
from bridge.rest.services import services

_MASTER_KEY = "master_key"
_NAMES = {
    "type": ("config_type", "type"),
    "configuration": ("ml_configuration", "configuration"),
    "create_time": ("create_time",),
    "last_update_time": ("last_updated_time", "last_update_time"),
}
"""Fields of the answer, and what they are called in documents: by today's name first."""


async def get(request: web.Request) -> web.Response:
    """One configuration document."""
    config_id = request.match_info["config_id"]
    if config_id == _MASTER_KEY:
        raise InvalidRequest("You are not allowed to access this config doc")
    stored = await services(request).configs.get(config_id)
    if stored is None:
        raise NotFound(f"Failed to find config with the provided config id: {config_id}")
    return answer(request, _shown(stored.value))


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    found = {name: [document[key] for key in keys if key in document] for name, keys in _NAMES.items()}
    return {name: values[0] for name, values in found.items() if values}
