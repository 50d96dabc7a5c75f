"""`/_plugins/_ml/models`: register, read, search, update, delete."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from aiohttp import web

from bridge.domain.caller import CALLER, Caller
from bridge.domain.model import OWN_FIELDS, Model, ModelChunk
from bridge.domain.names import FunctionName, TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import BridgeError, Forbidden, InvalidRequest, NotFound
from bridge.models import access_rules
from bridge.models.deploy import REMOTE_OFF
from bridge.models.groups import Registration
from bridge.models.model_fields import function_name
from bridge.models.register import RegisterRequest, parse_register
from bridge.models.remote_register import parse_remote
from bridge.models.update import parse_update
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import positions, required_object
from bridge.rest.search import search
from bridge.rest.services import Services, services
from bridge.rest.written import written
from bridge.store.documents import Stored
from bridge.wire import read_flag, to_document

_CONTENT = ("model_content", "content", "ui_metadata", *OWN_FIELDS)
_HIDDEN: dict[str, Any] = {"term": {"is_hidden": True}}
_CHUNK_ID = re.compile(r".+_-?\d+\Z")
_NO_RIGHT = "User doesn't have privilege to perform this operation on this model"
LOCAL_MODELS_OFF = (
    "Local Model is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.local_model.enabled" to true.'
)


async def register(request: web.Request) -> web.Response:
    """Check the request, queue a REGISTER_MODEL task."""
    to = services(request)
    empty = InvalidRequest("request body is required", kind="parse_exception")
    body = await required_object(request, empty, shapes.MODEL)
    deploy = read_flag(request.query.get("deploy") or "false")
    if function_name(body.get("function_name")) is FunctionName.REMOTE:
        return await _register_remote(request, body, deploy=deploy)
    with positions(await request.read()):
        wanted = parse_register(body, deploy=deploy, trusted_url=to.trusted_url)
    _check_settings(to, wanted)
    wanted = await admitted(request, wanted, body, pretrained=wanted.url is None)
    task = Task(task_type=TaskType.REGISTER_MODEL, function_name=wanted.function_name, state=TaskState.CREATED)
    submitted = await to.tasks.submit(task, input=to_document(wanted))
    return answer(request, {"task_id": submitted.id, "status": TaskState.CREATED.value})


async def _register_remote(request: web.Request, body: dict[str, Any], *, deploy: bool) -> web.Response:
    to, caller = services(request), request.get(CALLER)
    with positions(await request.read()):
        wanted = parse_remote(body, deploy=deploy)
    if not to.settings.current.remote_inference_enabled:
        raise InvalidRequest(REMOTE_OFF, kind="status_exception")
    await to.remote.check(wanted, caller)
    wanted = replace(wanted, model=await admitted(request, wanted.model, body))
    made = await to.remote.register(wanted)
    if deploy:
        await to.deployer.deploy(made.model_id)
    return answer(request, {"task_id": made.task_id, "status": TaskState.CREATED.value, "model_id": made.model_id})


def _check_settings(to: Services, wanted: RegisterRequest) -> None:
    now = to.settings.current
    if wanted.function_name is not FunctionName.REMOTE and not now.local_model_enabled:
        raise InvalidRequest(LOCAL_MODELS_OFF, kind="status_exception")
    if wanted.url is None:
        return
    if not (to.allow_register_by_url and now.allow_registering_model_via_url):
        raise InvalidRequest(
            "To upload custom model user needs to enable allow_registering_model_via_url settings. "
            "Otherwise please use OpenSearch pre-trained models."
        )
    if not re.search(now.trusted_url_regex, wanted.url):
        raise InvalidRequest("URL can't match trusted url regex")


async def admitted(
    request: web.Request, wanted: RegisterRequest, body: dict[str, Any], *, pretrained: bool = False
) -> RegisterRequest:
    """The request with the group that the caller may use (made for him where there is none yet).

    Raises InvalidRequest when he may not use it, NotFound.
    """
    asked = Registration(
        name=wanted.name,
        model_group_id=wanted.model_group_id,
        description=wanted.description,
        pretrained=pretrained,
    )
    said = access_rules.read_fields(body)
    return replace(wanted, model_group_id=await services(request).groups.admit(request.get(CALLER), asked, said))


async def get(request: web.Request) -> web.Response:
    """The model's document in canonical order; a chunk's, when its id is given."""
    to = services(request)
    model_id = request.match_info["model_id"]
    stored = await to.models.get(model_id)
    if stored is not None:
        await may_use(request, stored)
        return answer(request, _document(stored.value))
    chunk = await _chunk(to, model_id)
    if chunk is None:
        raise NotFound(f"Failed to find model with the provided model id: {model_id}")
    owner = await to.models.get(chunk.model_id)
    if owner is not None:
        await may_use(request, owner)
    return answer(request, _chunk_document(request, chunk))


async def _chunk(to: Services, model_id: str) -> ModelChunk | None:
    if not _CHUNK_ID.match(model_id):
        return None
    found = await to.chunks.get(model_id)
    return None if found is None else found.value


def _chunk_document(request: web.Request, chunk: ModelChunk) -> dict[str, Any]:
    document = to_document(replace(chunk, is_hidden=bool(chunk.is_hidden)))
    if not read_flag(request.query.get("return_content") or "false"):
        document.pop("model_content", None)
    return document


def _document(model: Model) -> dict[str, Any]:
    document = {name: value for name, value in to_document(model).items() if name not in OWN_FIELDS}
    if not document.get("planning_worker_nodes"):
        document.pop("planning_worker_nodes", None)
    if "connector" in document:
        document["connector"] = {name: value for name, value in document["connector"].items() if name != "credential"}
    return document


async def search_models(request: web.Request) -> web.Response:
    """The caller's search over the models that he may see."""
    to, caller = services(request), request.get(CALLER)
    return await search(
        request,
        to.names.model,
        hide=_CONTENT,
        secret=("connector.credential",),
        without_chunks=True,
        only=await to.access.search_filter(caller),
        never=() if _sees_hidden(caller) else (_HIDDEN,),
    )


async def update(request: web.Request) -> web.Response:
    """Change what may change."""
    to = services(request)
    empty = InvalidRequest("Update model request has empty body", kind="parse_exception")
    body = await required_object(request, empty, shapes.MODEL_UPDATE)
    with positions(await request.read()):
        changes = parse_update(body)
    stored = await to.update.update(request.match_info["model_id"], changes, request.get(CALLER))
    return answer(request, written(to.names.model, stored.id, "updated", stored.version))


async def delete(request: web.Request) -> web.Response:
    """Remove the document, its chunks and its controller."""
    to = services(request)
    model_id = request.match_info["model_id"]
    stored = await to.models.get(model_id)
    if stored is not None:
        await may_use(request, stored)
    removed = await to.removal.delete(model_id, safe=to.settings.current.safe_delete_model)
    return answer(request, written(to.names.model, removed.id, "deleted", removed.version))


async def may_use(request: web.Request, stored: Stored[Model], *, refusal: BridgeError | None = None) -> None:
    """Raises Forbidden (or `refusal`) when the caller may not use the model; hidden ones are for admins."""
    caller = request.get(CALLER)
    if stored.value.is_hidden and not _sees_hidden(caller):
        raise Forbidden(_NO_RIGHT)
    await services(request).access.check(caller, stored.value.model_group_id, refusal=refusal or Forbidden(_NO_RIGHT))


def _sees_hidden(caller: Caller | None) -> bool:
    return caller is not None and caller.admin
