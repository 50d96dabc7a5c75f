"""`/_plugins/_ml/models`: register, read, search, delete."""

from __future__ import annotations

from aiohttp import web

from bridge.domain.names import TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound
from bridge.models.register import parse_register
from bridge.rest.answers import answer
from bridge.rest.body import required_object
from bridge.rest.search import search
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.wire import to_document

_CONTENT = ("model_content", "content", "ui_metadata")


async def register(request: web.Request) -> web.Response:
    """Check the request, queue a REGISTER_MODEL task."""
    to = services(request)
    body = await required_object(request, InvalidRequest("request body is required", kind="parse_exception"))
    deploy = request.query.get("deploy", "false").lower() == "true"
    wanted = parse_register(body, deploy=deploy, trusted_url=to.trusted_url)
    if wanted.url is not None and not to.allow_register_by_url:
        raise InvalidRequest(
            "To upload custom model user needs to enable allow_registering_model_via_url settings. "
            "Otherwise please use OpenSearch pre-trained models."
        )
    task = Task(task_type=TaskType.REGISTER_MODEL, function_name=wanted.function_name, state=TaskState.CREATED)
    submitted = await to.tasks.submit(task, input=to_document(wanted))
    return answer(request, {"task_id": submitted.id, "status": TaskState.CREATED.value})


async def get(request: web.Request) -> web.Response:
    """The model's document in canonical order; a chunk's, when its id is given."""
    model_id = request.match_info["model_id"]
    stored = await services(request).models.get(model_id)
    if stored is None:
        raise NotFound(f"Failed to find model with the provided model id: {model_id}")
    document = to_document(stored.value)
    if not document.get("planning_worker_nodes"):
        document.pop("planning_worker_nodes", None)
    return answer(request, document)


async def search_models(request: web.Request) -> web.Response:
    """The caller's search over models."""
    return await search(request, services(request).names.model, hide=_CONTENT, without_chunks=True)


async def delete(request: web.Request) -> web.Response:
    """Remove the document and its chunks."""
    to = services(request)
    stored = await to.removal.delete(request.match_info["model_id"])
    return answer(request, written(to.names.model, stored.id, "deleted", stored.version))
