"""`/_plugins/_ml/connectors`: create, read, search, update, delete. No answer holds a credential."""

from __future__ import annotations

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import InvalidRequest
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import positions, read_body, required_object
from bridge.rest.search import search
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.wire import to_document

_SECRET = ("credential",)


async def create(request: web.Request) -> web.Response:
    """Store a connector, its credential encrypted."""
    to = services(request)
    empty = InvalidRequest("Create Connector request has empty body", kind="parse_exception")
    body = await required_object(request, empty, shapes.CONNECTOR)
    with positions(await request.read()):
        made = await to.connectors.create(body, request.get(CALLER))
    return answer(request, {"connector_id": made})


async def get(request: web.Request) -> web.Response:
    """The connector's document."""
    stored = await services(request).connectors.get(request.match_info["connector_id"], request.get(CALLER))
    document = {name: value for name, value in to_document(stored.value).items() if name not in _SECRET}
    return answer(request, document)


async def search_connectors(request: web.Request) -> web.Response:
    """The caller's search over the connectors that he may see."""
    to = services(request)
    if not await read_body(request) and "source" not in request.query:
        raise InvalidRequest("request body or source parameter is required", kind="parse_exception")
    only = to.connectors.search_filter(request.get(CALLER))
    return await search(request, to.names.connector, only=only, secret=_SECRET)


async def update(request: web.Request) -> web.Response:
    """Merge parameters, replace other fields."""
    to = services(request)
    empty = InvalidRequest("Failed to update connector: Request body is empty", kind="parse_exception")
    body = await required_object(request, empty, shapes.CONNECTOR_UPDATE)
    with positions(await request.read()):
        stored = await to.connectors.update(request.match_info["connector_id"], body, request.get(CALLER))
    return answer(request, written(to.names.connector, stored.id, "updated", stored.version))


async def delete(request: web.Request) -> web.Response:
    """Remove a connector that no model uses; an unknown one is no error."""
    to = services(request)
    connector_id = request.match_info["connector_id"]
    stored = await to.connectors.delete(connector_id, request.get(CALLER))
    if stored is None:
        return answer(request, written(to.names.connector, connector_id, "not_found"))
    return answer(request, written(to.names.connector, connector_id, "deleted", stored.version))
