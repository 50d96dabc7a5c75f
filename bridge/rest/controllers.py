"""`/_plugins/_ml/controllers`: limits of a model for single users."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import InvalidRequest
from bridge.models.controllers import read_limits
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import read_object
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.wire import to_document


async def create(request: web.Request) -> web.Response:
    """Make the model's controller, or put another in its place."""
    limits = read_limits(await _body(request, "Create"))
    model_id = request.match_info["model_id"]
    made = await services(request).controllers.create(model_id, limits, request.get(CALLER))
    return answer(request, {"model_id": model_id, "status": "CREATED" if made else "UPDATED"})


async def get(request: web.Request) -> web.Response:
    """The controller."""
    found = await services(request).controllers.get(request.match_info["model_id"], request.get(CALLER))
    return answer(request, to_document(found))


async def update(request: web.Request) -> web.Response:
    """Change the limits of the users that are named."""
    limits = read_limits(await _body(request, "Update"))
    to, model_id = services(request), request.match_info["model_id"]
    stored, changed = await to.controllers.update(model_id, limits, request.get(CALLER))
    told = written(to.names.controller, model_id, "updated" if changed else "noop", stored.version)
    if not changed:
        del told["forced_refresh"]
    return answer(request, told)


async def delete(request: web.Request) -> web.Response:
    """Remove the controller; the model's users are limited no more."""
    to, model_id = services(request), request.match_info["model_id"]
    stored = await to.controllers.delete(model_id, request.get(CALLER))
    return answer(request, written(to.names.controller, model_id, "deleted", stored.version))


async def _body(request: web.Request, doing: str) -> dict[str, Any]:
    body = await read_object(request, shapes.CONTROLLER)
    if body is None:
        raise InvalidRequest(f"{doing} model controller request has empty body", kind="parse_exception")
    return body
