"""`/_plugins/_ml/model_groups`: register, read, update, search, delete."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.model import ModelGroup
from bridge.errors import InvalidRequest
from bridge.models.access_rules import read_fields
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import required_object
from bridge.rest.search import search
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.wire import from_document, to_document

_EMPTY = "Model group request has empty body"


async def register(request: web.Request) -> web.Response:
    """Make a group."""
    body = await _body(request)
    if body.get("name") is None:
        raise InvalidRequest("model group name must not be null")
    fields = from_document(ModelGroup, {name: body.get(name) for name in ("name", "description")})
    group_id = await services(request).groups.create(fields, said=read_fields(body), caller=request.get(CALLER))
    return answer(request, {"model_group_id": group_id, "status": "CREATED"})


async def get(request: web.Request) -> web.Response:
    """The group's document."""
    stored = await services(request).groups.get(request.match_info["group_id"], caller=request.get(CALLER))
    return answer(request, to_document(stored.value))


async def update(request: web.Request) -> web.Response:
    """Change name, description or access."""
    body = await _body(request)
    told = {name: body[name] for name in ("name", "description") if body.get(name) is not None}
    read = from_document(ModelGroup, {"name": "", **told})
    await services(request).groups.update(
        request.match_info["group_id"],
        {name: getattr(read, name) for name in told},
        said=read_fields(body),
        caller=request.get(CALLER),
    )
    return answer(request, {"status": "Updated"})


async def search_groups(request: web.Request) -> web.Response:
    """The caller's search over the groups that he may see."""
    to = services(request)
    return await search(request, to.names.group, only=await to.access.group_filter(request.get(CALLER)))


async def delete(request: web.Request) -> web.Response:
    """Remove an empty group; one that is not there is no error."""
    to = services(request)
    group_id = request.match_info["group_id"]
    stored = await to.groups.delete(group_id, caller=request.get(CALLER))
    if stored is None:
        return answer(request, written(to.names.group, group_id, "not_found"))
    return answer(request, written(to.names.group, group_id, "deleted", stored.version))


async def _body(request: web.Request) -> dict[str, Any]:
    return await required_object(request, InvalidRequest(_EMPTY, kind="parse_exception"), shapes.GROUP)
