"""`/_plugins/_ml/profile`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import InvalidRequest, Unparsable
from bridge.models.profile import Wanted, by_model
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import parse_object, read_body, read_lists
from bridge.rest.services import services
from bridge.wire import token_of


async def everything(request: web.Request) -> web.Response:
    """Models and tasks of all nodes; a body chooses."""
    return await _answer(request, Wanted(all_models=True, all_tasks=True))


async def models(request: web.Request) -> web.Response:
    """Deployed models, or those named in the path."""
    named = _named(request, "model_ids")
    return await _answer(request, Wanted(model_ids=named, all_models=not named))


async def tasks(request: web.Request) -> web.Response:
    """Tasks under way, or those named in the path."""
    named = _named(request, "task_ids")
    return await _answer(request, Wanted(task_ids=named, all_tasks=not named))


async def _answer(request: web.Request, wanted: Wanted) -> web.Response:
    raw = await read_body(request)
    found = await services(request).profiles.nodes(await _asked(request, raw) if raw else wanted, request.get(CALLER))
    view = request.query.get("view", "node")
    if not found or view not in ("node", "model"):
        return answer(request, {})
    return answer(request, {"nodes": found} if view == "node" else {"models": by_model(found)})


async def _asked(request: web.Request, raw: bytes) -> Wanted:
    body = parse_object(raw)
    lists = await read_lists(request, shapes.PROFILE)
    return Wanted(
        node_ids=tuple(lists["node_ids"] or ()),
        model_ids=tuple(lists["model_ids"] or ()),
        task_ids=tuple(lists["task_ids"] or ()),
        all_models=_switch(body, "return_all_models"),
        all_tasks=_switch(body, "return_all_tasks"),
    )


def _switch(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if isinstance(value, bool) or value in ("true", "false"):
        return value in (True, "true")
    if isinstance(value, str):
        raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")
    raise Unparsable(f"Current token ({token_of(value)}) not of boolean type", kind="json_parse_exception")


def _named(request: web.Request, name: str) -> tuple[str, ...]:
    return tuple(part for part in request.match_info.get(name, "").split(",") if part)
