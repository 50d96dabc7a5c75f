"""`/_plugins/_ml/models`: deploy and undeploy."""

from __future__ import annotations

from aiohttp import web

from bridge.domain.names import TaskState, TaskType
from bridge.errors import InvalidRequest
from bridge.rest.answers import answer
from bridge.rest.body import read_lists
from bridge.rest.services import services


async def deploy(request: web.Request) -> web.Response:
    """Plan the model onto nodes, queue a DEPLOY_MODEL task."""
    lists = await read_lists(request, "node_ids")
    await services(request).uploads.must_be_whole(request.match_info["model_id"])
    task_id = await services(request).deployer.deploy(request.match_info["model_id"], lists["node_ids"] or None)
    return answer(
        request, {"task_id": task_id, "task_type": TaskType.DEPLOY_MODEL.value, "status": TaskState.CREATED.value}
    )


async def undeploy(request: web.Request) -> web.Response:
    """Take one model's plan back."""
    lists = await read_lists(request, "node_ids")
    stats = await services(request).deployer.undeploy([request.match_info["model_id"]], lists["node_ids"] or None)
    return answer(request, stats)


async def undeploy_several(request: web.Request) -> web.Response:
    """Take several models' plans back."""
    lists = await read_lists(request, "model_ids", "node_ids")
    if not lists["model_ids"]:
        raise InvalidRequest("Must set specific model ids to undeploy")
    stats = await services(request).deployer.undeploy(lists["model_ids"], lists["node_ids"] or None)
    return answer(request, stats)
