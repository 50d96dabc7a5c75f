"""The slow lane's routes. Whatever the front door sent here for no good reason is simply passed on."""

from __future__ import annotations

from aiohttp import web

from bridge.proxy.slow.bulk import Bulk
from bridge.proxy.slow.cluster_settings import ClusterSettingsRoutes
from bridge.proxy.slow.documents import Documents
from bridge.proxy.slow.forward import Forward
from bridge.proxy.slow.multi_search import MultiSearch
from bridge.proxy.slow.pipelines import Pipelines
from bridge.proxy.slow.rewrites import Rewrites
from bridge.proxy.slow.search import Searches
from bridge.proxy.slow.search_pipelines import SearchPipelines
from bridge.proxy.slow.services import Handler, SlowServices, guarded
from bridge.proxy.slow.simulate import Simulate
from bridge.proxy.slow.templates import Templates
from bridge.proxy.slow.upstream import keep_headers

_INDEX = "/{index:[^/_-][^/]*}"
_READ = ("GET", "POST")
_WRITE = ("PUT", "POST")
_CHANGE = ("PUT", "POST", "DELETE")

_TEMPLATES = ("_template", "_index_template", "_component_template", "_data_stream", "_settings", "_alias", "_aliases")
_INDEX_ADMIN = "_settings|_alias|_aliases|_rollover|_clone|_split|_shrink|_open|_mapping|_close"


def add_routes(app: web.Application, services: SlowServices) -> None:
    """Add all routes of the slow lane to `app`, the one that takes everything last: call this after all others."""
    app.on_response_prepare.append(keep_headers)
    _pipelines(app, services)
    _searches(app, services)
    _writes(app, services)
    _administration(app, services)
    _add(app, ("*",), "/{anything:.*}", Forward(services).anything)


def _add(app: web.Application, methods: tuple[str, ...], path: str, handler: Handler) -> None:
    for method in methods:
        app.router.add_route(method, path, guarded(handler))


def _pipelines(app: web.Application, services: SlowServices) -> None:
    pipelines, simulate = Pipelines(services), Simulate(services)
    _add(app, _READ, "/_ingest/pipeline/_simulate", simulate.handle)
    _add(app, _READ, "/_ingest/pipeline/{name}/_simulate", simulate.handle)
    _add(app, ("GET",), "/_ingest/pipeline", pipelines.get)
    _add(app, ("GET",), "/_ingest/pipeline/{name}", pipelines.get)
    _add(app, ("PUT",), "/_ingest/pipeline/{name}", pipelines.put)
    _add(app, ("DELETE",), "/_ingest/pipeline/{name}", pipelines.delete)
    searched = SearchPipelines(services)
    _add(app, ("GET",), "/_search/pipeline", searched.get)
    _add(app, ("GET",), "/_search/pipeline/{name}", searched.get)
    _add(app, ("PUT",), "/_search/pipeline/{name}", searched.put)
    _add(app, ("DELETE",), "/_search/pipeline/{name}", searched.delete)


def _searches(app: web.Application, services: SlowServices) -> None:
    search, multi, templates = Searches(services), MultiSearch(services), Templates(services)
    for prefix in ("", "/{index}"):
        _add(app, _READ, f"{prefix}/_search", search.search)
        _add(app, _READ, f"{prefix}/_search/template", templates.search)
        _add(app, _READ, f"{prefix}/_count", search.count)
        _add(app, _READ, f"{prefix}/_msearch", multi.handle)
        _add(app, _READ, f"{prefix}/_msearch/template", templates.multi)
        _add(app, _READ, f"{prefix}/_validate/query", search.validate)
    _add(app, _READ, "/{index}/_explain/{id}", search.rewrite)
    _add(app, ("POST",), "/_plugins/_asynchronous_search", search.asynchronous)


def _writes(app: web.Application, services: SlowServices) -> None:
    documents, bulk, rewrites = Documents(services), Bulk(services), Rewrites(services)
    _add(app, _WRITE, "/_bulk", bulk.handle)
    _add(app, _WRITE, "/{index}/_bulk", bulk.handle)
    _add(app, ("POST",), "/{index}/_doc", documents.write)
    _add(app, _WRITE, "/{index}/_doc/{id}", documents.write)
    _add(app, _WRITE, "/{index}/_create/{id}", documents.write)
    _add(app, ("POST",), "/{index}/_update/{id}", documents.update)
    _add(app, ("POST",), "/{index}/_update_by_query", rewrites.by_query)
    _add(app, ("POST",), "/{index}/_delete_by_query", rewrites.by_query)
    _add(app, ("POST",), "/_reindex", rewrites.reindex)


def _administration(app: web.Application, services: SlowServices) -> None:
    forward, settings = Forward(services), ClusterSettingsRoutes(services)
    _add(app, ("GET",), "/_cluster/settings", settings.get)
    _add(app, ("PUT",), "/_cluster/settings", settings.put)
    for name in _TEMPLATES:
        _add(app, _CHANGE, f"/{name}", forward.administration)
        _add(app, _CHANGE, f"/{name}/{{rest:.*}}", forward.administration)
    _add(app, _CHANGE, f"/{{index}}/{{what:{_INDEX_ADMIN}}}", forward.administration)
    _add(app, _CHANGE, f"/{{index}}/{{what:{_INDEX_ADMIN}}}/{{rest:.*}}", forward.administration)
    _add(app, _CHANGE, "/_snapshot/{rest:.*}", forward.administration)
    _add(app, ("PUT", "DELETE"), _INDEX, forward.administration)
