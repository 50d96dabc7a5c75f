"""`/_plugins/_ml/models`: deploy and undeploy."""

from __future__ import annotations

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.names import TaskState, TaskType
from bridge.errors import InvalidRequest
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import read_lists
from bridge.rest.models import may_use
from bridge.rest.services import services


async def deploy(request: web.Request) -> web.Response:
    """Plan the model onto nodes, queue a DEPLOY_MODEL task; a remote model's is COMPLETED at once."""
    to = services(request)
    model_id = request.match_info["model_id"]
    lists = await read_lists(request, shapes.NODES)
    stored = await to.models.get(model_id)
    if stored is not None:
        await may_use(request, stored)
    task = await to.deployer.begin(model_id, lists["node_ids"] or None)
    state = TaskState.COMPLETED if task.value.state is TaskState.COMPLETED else TaskState.CREATED
    return answer(request, {"task_id": task.id, "task_type": TaskType.DEPLOY_MODEL.value, "status": state.value})


async def undeploy(request: web.Request) -> web.Response:
    """Take one model's plan back; `model_ids` in the body win over the path, as in ML Commons."""
    lists = await read_lists(request, shapes.MODELS_AND_NODES)
    return await _undeploy(request, lists["model_ids"] or [request.match_info["model_id"]], lists["node_ids"])


async def undeploy_several(request: web.Request) -> web.Response:
    """Take several models' plans back."""
    lists = await read_lists(request, shapes.MODELS_AND_NODES)
    if not lists["model_ids"]:
        raise InvalidRequest("Must set specific model ids to undeploy")
    return await _undeploy(request, lists["model_ids"], lists["node_ids"])


async def _undeploy(request: web.Request, model_ids: list[str], node_ids: list[str] | None) -> web.Response:
    to = services(request)
    if len(model_ids) > 1 and to.access.applies(request.get(CALLER)):
        raise InvalidRequest("only support undeploy one model")
    for model_id in model_ids:
        stored = await to.models.get(model_id)
        if stored is not None:
            await may_use(request, stored, refusal=InvalidRequest(f"No permission to undeploy model {model_id}"))
    return answer(request, await to.deployer.undeploy(model_ids, node_ids or None))
