"""Every route of the REST surface in one table."""

from __future__ import annotations

import warnings
from functools import wraps

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.models.node_reports import PATH as REPORT_PATH
from bridge.models.peers import PATH as PEER_PATH
from bridge.rest import (
    configs,
    connectors,
    controllers,
    deployment,
    model_groups,
    models,
    nodes,
    parameters,
    predict,
    profile,
    stats,
    tasks,
    uploads,
)
from bridge.rest.errors import Handler, error_middleware, no_handler, wrong_method
from bridge.rest.permissions import PERMISSIONS, UNKNOWN
from bridge.rest.services import SERVICES, Services, services

BASE = "/_plugins/_ml"

# A literal name wins over an id, as in the cluster's own router: DELETE models/_register is a wrong method.
_MODEL = "{model_id:(?!(?:_register|_upload|_search|_undeploy|_unload|_register_meta|meta)$)[^/]+}"
_GROUP = "{group_id:(?!(?:_register|_search)$)[^/]+}"
_CONNECTOR = "{connector_id:(?!(?:_create|_search)$)[^/]+}"
_TASK = "{task_id:(?!_search$)[^/]+}"

_NAME = "X-Opaque-Id"
_SOURCE = ("source", "source_content_type")
_PARAMETERS: dict[Handler, tuple[str, ...]] = {
    models.register: ("deploy",),
    models.get: ("return_content",),
    models.search_models: _SOURCE,
    tasks.search_tasks: _SOURCE,
    connectors.search_connectors: _SOURCE,
    model_groups.search_groups: _SOURCE,
    predict.predict: ("algorithm",),
    profile.everything: ("view",),
    profile.models: ("view",),
    profile.tasks: ("view",),
}
"""Query parameters besides the generic ones; all others are refused."""


def routes() -> list[web.RouteDef]:
    """Routes of ML Commons with the names of 2.4-2.6 beside today's, and the door for other nodes."""
    table = [
        *_models(),
        *_both("GET POST", ("tasks/_search",), tasks.search_tasks),
        *_both("GET", (f"tasks/{_TASK}",), tasks.get),
        *_both("DELETE", (f"tasks/{_TASK}",), tasks.delete),
        *_both("POST", (f"tasks/{_TASK}/_cancel",), tasks.cancel),
        *_both("POST", ("connectors/_create",), connectors.create),
        *_both("GET POST", ("connectors/_search",), connectors.search_connectors),
        *_both("GET", (f"connectors/{_CONNECTOR}",), connectors.get),
        *_both("PUT", (f"connectors/{_CONNECTOR}",), connectors.update),
        *_both("DELETE", (f"connectors/{_CONNECTOR}",), connectors.delete),
        *_both("POST", ("model_groups/_register",), model_groups.register),
        *_both("GET POST", ("model_groups/_search",), model_groups.search_groups),
        *_both("GET", (f"model_groups/{_GROUP}",), model_groups.get),
        *_both("PUT", (f"model_groups/{_GROUP}",), model_groups.update),
        *_both("DELETE", (f"model_groups/{_GROUP}",), model_groups.delete),
    ]
    return [
        *table,
        *_limits_and_figures(),
        web.post(PEER_PATH + "{model_id}", nodes.predict_here),
        web.get(REPORT_PATH, stats.report_here, allow_head=False),
    ]


def _models() -> list[web.RouteDef]:
    return [
        *_both("POST", ("models/_register", "models/_upload"), models.register),
        *_both(
            "POST", (f"models/{_MODEL}/{{version}}/_register", f"models/{_MODEL}/{{version}}/_upload"), models.register
        ),
        *_both("POST", ("models/_register_meta", "models/meta"), uploads.begin),
        *_both(
            "POST",
            (f"models/{_MODEL}/upload_chunk/{{chunk_number}}", f"models/{_MODEL}/chunk/{{chunk_number}}"),
            uploads.add_chunk,
        ),
        *_both("GET POST", ("models/_search",), models.search_models),
        *_both("GET", (f"models/{_MODEL}",), models.get),
        *_both("PUT", (f"models/{_MODEL}",), models.update),
        *_both("DELETE", (f"models/{_MODEL}",), models.delete),
        *_both("POST", (f"models/{_MODEL}/_deploy", f"models/{_MODEL}/_load"), deployment.deploy),
        *_both("POST", ("models/_undeploy", "models/_unload"), deployment.undeploy_several),
        *_both("POST", (f"models/{_MODEL}/_undeploy", f"models/{_MODEL}/_unload"), deployment.undeploy),
        *_both("POST", (f"models/{_MODEL}/_predict", f"_predict/{{algorithm}}/{_MODEL}"), predict.predict),
        *_both("POST", (f"models/{_MODEL}/_batch_predict",), predict.batch_predict),
    ]


def _limits_and_figures() -> list[web.RouteDef]:
    return [
        *_both("POST", (f"controllers/{_MODEL}",), controllers.create),
        *_both("GET", (f"controllers/{_MODEL}",), controllers.get),
        *_both("PUT", (f"controllers/{_MODEL}",), controllers.update),
        *_both("DELETE", (f"controllers/{_MODEL}",), controllers.delete),
        *_both("GET", ("config/{config_id}",), configs.get),
        *_both("GET", ("profile",), profile.everything),
        *_both("GET", ("profile/models", "profile/models/{model_ids}"), profile.models),
        *_both("GET", ("profile/tasks", "profile/tasks/{task_ids}"), profile.tasks),
        *_both("GET", ("stats", "stats/{stats}", "{nodes}/stats", "{nodes}/stats/{stats}"), stats.stats),
    ]


def add_routes(app: web.Application, to: Services) -> None:
    """Serve the routes in `app`; its middlewares must hold `error_middleware` and then `identity_middleware`."""
    app[SERVICES] = to
    app.add_routes(routes())
    # What is under our path and not ours is nobody's: the cluster, which may be asked for the rest, has none of it.
    app.router.add_route("*", BASE + "/{rest:.*}", nobody)
    app.on_response_prepare.append(_name_again)


async def _name_again(request: web.Request, response: web.StreamResponse) -> None:
    """The client's name of the request comes back with the answer, as the cluster does it."""
    name = request.headers.get(_NAME, "")
    if name and name.isprintable() and _NAME not in response.headers:
        response.headers[_NAME] = name


def middlewares() -> list[Handler]:
    """In the order in which an application needs them."""
    return [error_middleware, identity_middleware]  # type: ignore[list-item]


@web.middleware
async def identity_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """On a secured cluster only its users are served.

    What comes here may run a model before the cluster sees anything of it, so the cluster is asked first whether it
    knows the caller; handlers find him under CALLER (None: an open cluster). The bridge's own doors are left out: nodes
    show each other a token, probes show nothing.
    """
    if request.path.startswith(BASE):
        parameters.check_generic(request)
    if not request.path.startswith("/_bridge/"):
        caller = await request.app[SERVICES].identities.of(request.headers)
        # The key is a text: the layer that names it does not know aiohttp, which recommends a kind of its own.
        with warnings.catch_warnings(action="ignore", category=web.NotAppKeyWarning):
            request[CALLER] = caller
    return await handler(request)


async def nobody(request: web.Request) -> web.StreamResponse:
    """A wrong method for one of our paths (405 with those it has), or a path that nobody has (400; to OPTIONS 200)."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical.startswith(BASE) and resource.canonical != BASE + "/{rest}":
            _, methods = await resource.resolve(request)
            allowed |= methods
    known = bool(allowed) or request.method == "OPTIONS"
    return wrong_method(request, sorted(allowed)) if known else no_handler(request)


def _both(methods: str, paths: tuple[str, ...], handler: Handler) -> list[web.RouteDef]:
    checked = _checked(handler, _PARAMETERS.get(handler, ()))
    # HEAD is no GET here: the cluster answers it with 405.
    options = {"GET": {"allow_head": False}}
    return [
        web.route(method, f"{BASE}/{path}", checked, **options.get(method, {}))
        for path in paths
        for method in methods.split()
    ]


def _checked(handler: Handler, known: tuple[str, ...]) -> Handler:
    permission = PERMISSIONS.get(handler, UNKNOWN)

    @wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        services(request).access.permissions.check(request.get(CALLER), permission)
        parameters.check(request, known)
        return await handler(request)

    return handle
