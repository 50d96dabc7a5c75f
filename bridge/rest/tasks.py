"""`/_plugins/_ml/tasks`: read, search, delete."""

from __future__ import annotations

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.names import TaskType
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound
from bridge.rest.answers import answer
from bridge.rest.search import search
from bridge.rest.services import services
from bridge.rest.written import written
from bridge.store.documents import Stored
from bridge.wire import to_document

_BATCH = (TaskType.BATCH_PREDICTION, TaskType.BATCH_INGEST)


async def get(request: web.Request) -> web.Response:
    """The task's document."""
    stored = await _task(request)
    return answer(request, to_document(stored.value))


async def search_tasks(request: web.Request) -> web.Response:
    """The caller's search over the tasks of models that he may see."""
    to = services(request)
    return await search(request, to.names.task, only=await to.access.task_filter(request.get(CALLER)))


async def delete(request: web.Request) -> web.Response:
    """Remove a task that nobody works on."""
    to = services(request)
    stored = await _task(request)
    await to.tasks.delete(stored.id)
    return answer(request, written(to.names.task, stored.id, "deleted", stored.version))


async def cancel(request: web.Request) -> web.Response:
    """Cancel a batch job; other tasks have none."""
    to = services(request)
    try:
        stored = await _task(request)
    except NotFound as error:
        raise NotFound("Fail to find task") from error
    if stored.value.task_type not in _BATCH:
        raise InvalidRequest("The task ID you provided does not have any associated batch job")
    await to.tasks.cancel(stored.id)
    return answer(request, {"task_id": stored.id, "status": "CANCELLED"})


async def _task(request: web.Request) -> Stored[Task]:
    """Raises NotFound, and Forbidden when it is about a model that the caller may not use."""
    to = services(request)
    stored = await to.tasks.get(request.match_info["task_id"])
    await to.access.check_model(request.get(CALLER), stored.value.model_id)
    return stored
