"""`/_plugins/_ml/model_groups`: register, read, update, search, delete."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.domain.model import ModelGroup
from bridge.errors import BridgeError, InvalidRequest
from bridge.models.groups import NamelessGroup
from bridge.rest.answers import answer
from bridge.rest.body import read_object, required_object
from bridge.rest.search import search
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.wire import from_document, to_document

_EMPTY = "Model group request has empty body"
_ACCESS = ("access_mode", "backend_roles", "add_all_backend_roles")
_MODES = ("public", "private", "restricted")


class EmptyUpdate(BridgeError):
    """ML Commons answers 500 to an update without a body."""

    status = 500
    default_kind = "i_o_exception"


async def register(request: web.Request) -> web.Response:
    """Make a group."""
    body = await required_object(request, InvalidRequest(_EMPTY, kind="parse_exception"))
    if body.get("name") is None:
        raise NamelessGroup("model group name must not be null")
    _refuse_access(body)
    fields = {name: body.get(name) for name in ("name", "description")}
    group_id = await services(request).groups.create(from_document(ModelGroup, fields))
    return answer(request, {"model_group_id": group_id, "status": "CREATED"})


async def get(request: web.Request) -> web.Response:
    """The group's document."""
    stored = await services(request).groups.get(request.match_info["group_id"])
    return answer(request, to_document(stored.value))


async def update(request: web.Request) -> web.Response:
    """Change name or description."""
    body = await read_object(request)
    if body is None:
        raise EmptyUpdate(_EMPTY)
    _refuse_access(body)
    told = {name: body[name] for name in ("name", "description") if body.get(name) is not None}
    read = from_document(ModelGroup, {"name": "", **told})
    await services(request).groups.update(request.match_info["group_id"], {name: getattr(read, name) for name in told})
    return answer(request, {"status": "Updated"})


async def search_groups(request: web.Request) -> web.Response:
    """The caller's search over groups."""
    return await search(request, services(request).names.group)


async def delete(request: web.Request) -> web.Response:
    """Remove an empty group; one that is not there is no error."""
    to = services(request)
    group_id = request.match_info["group_id"]
    stored = await to.groups.delete(group_id)
    if stored is None:
        return answer(request, written(to.names.group, group_id, "not_found"))
    return answer(request, written(to.names.group, group_id, "deleted", stored.version))


def _refuse_access(body: dict[str, Any]) -> None:
    # An unknown access_mode is ignored, as ML Commons does.
    mode = str(body.get("access_mode", "")).lower()
    if mode in _MODES or any(body.get(name) for name in _ACCESS[1:]):
        raise InvalidRequest(
            "You cannot specify model access control parameters because the Security plugin or model access control"
            " is disabled on your cluster."
        )
