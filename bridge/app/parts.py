"""The composition root: the only place that builds objects."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge import __version__
from bridge.app.connection import cluster_config
from bridge.app.machine import machine
from bridge.connectors.catalog import Connectors
from bridge.connectors.http_call import HttpCaller
from bridge.connectors.remote import RemoteInference
from bridge.connectors.secret_box import SecretBox, key_file, read_keys
from bridge.domain.cluster_settings import ClusterSettings
from bridge.domain.names import FunctionName
from bridge.domain.node import Node as NodeDocument
from bridge.errors import Unavailable
from bridge.models.download import Downloader, DownloadLimits
from bridge.models.inference import InferenceProcess, ProcessOptions
from bridge.models.node import NodeIdentity
from bridge.models.permissions import MlRoles
from bridge.models.remote_register import RemoteRegistration
from bridge.models.runtime import WATCHED, ModelRuntime
from bridge.pipelines.cache import PipelineCache
from bridge.processors.ingest import IngestServices
from bridge.processors.search import SearchServices
from bridge.proxy.front.table import LaneTable
from bridge.proxy.slow.resolve import Resolver
from bridge.proxy.slow.routes import add_routes as add_slow_routes
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Upstream
from bridge.rest.errors import error_middleware
from bridge.rest.health import Health, add_health_routes
from bridge.rest.identity import Identities
from bridge.rest.routes import add_routes as add_rest_routes
from bridge.rest.routes import identity_middleware
from bridge.rest.services import Services
from bridge.settings import Settings
from bridge.store.cluster import Cluster
from bridge.store.live_settings import LiveSettings
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker


class Ground:
    """What every role stands on: the cluster, the documents in it, this node's name among the nodes, the queue."""

    def __init__(self, settings: Settings) -> None:
        self.names = IndexNames(settings.index_prefix)
        self.cluster = Cluster(cluster_config(settings))
        # A signed request of AWS vouches for itself only: its headers prove nothing about another.
        self.identities = Identities.asking(self.cluster.config, secured=False if settings.aws_region else None)
        self.stores = Stores.on(self.cluster, self.names)
        self.identity = NodeIdentity(settings.folder)
        self.node_id = self.identity.acquire()
        self.token = secrets.token_urlsafe(24)
        self.settings_now = _cluster_settings(settings, self.stores)
        self.http = HttpCaller(self.settings_now)
        self.connectors = _connectors(settings, self)
        self.queue = TaskQueue(self.stores.tasks, self.stores.claims, node_id=self.node_id, lease=settings.lease)

    async def close(self) -> None:
        """Close what is open towards the cluster, and let the data folder go."""
        await self.http.close()
        await self.identities.close()
        await self.cluster.close()
        self.identity.release()


def _cluster_settings(settings: Settings, stores: Stores) -> LiveSettings:
    base = ClusterSettings(trusted_url_regex=settings.trusted_url_regex)
    forbidden = frozenset() if settings.allow_model_urls else frozenset({"allow_registering_model_via_url"})
    return LiveSettings(stores.config, base=base, forbidden=forbidden)


def _connectors(settings: Settings, ground: Ground) -> Connectors:
    keys = read_keys(settings.secret_key) if settings.secret_key else key_file(settings.folder / "secret.key")
    return Connectors(
        connectors=ground.stores.connectors,
        models=ground.stores.models,
        box=SecretBox(keys),
        settings=ground.settings_now,
    )


def _inference(settings: Settings) -> InferenceProcess:
    limits = {"max_waiting": settings.max_queue}
    if settings.token_budget:
        limits["token_budget"] = settings.token_budget
    return InferenceProcess(
        ProcessOptions(
            limits=limits,
            workers=settings.threads or None,
            allow_torchscript=settings.allow_torchscript,
            device=None if settings.device == "auto" else settings.device,
        )
    )


def _runtime(settings: Settings, ground: Ground, inference: InferenceProcess | None) -> ModelRuntime:
    node = NodeDocument(
        name=settings.node,
        address=("https://" if settings.tls_cert else "") + settings.advertised,
        token=ground.token,
        roles=settings.role_set,
        version=__version__,
        started_time=int(time.time() * 1000),
    )
    limits = DownloadLimits(
        max_bytes=settings.max_model_bytes,
        allow_file=settings.allow_file_urls,
        trusted_url=settings.trusted_url_regex,
    )
    return ModelRuntime(
        stores=ground.stores,
        queue=ground.queue,
        node_id=ground.node_id,
        node=node,
        data_dir=settings.folder,
        inference=inference,
        downloader=Downloader(limits),
        repository=settings.model_repository,
        describe=partial(machine, inference),
        lease=settings.lease,
        deploy_seconds=settings.deploy_timeout,
        interval=settings.sync_every,
        auto_deploy_local=settings.auto_deploy_local,
        settings=ground.settings_now,
        remote=RemoteInference(ground.connectors, ground.http, ground.settings_now),
    )


class Proxy:
    """The proxy role's slow lane: pipelines, query rewriting, and whatever else the front door sends here."""

    def __init__(self, settings: Settings, ground: Ground, models: ModelRuntime, run_dir: Path) -> None:
        self.upstream = Upstream(settings.cluster_urls, tls=cluster_config(settings, own=False).tls())
        self.lanes = LaneTable(run_dir)
        self.pipelines = PipelineCache(
            ground.stores.pipelines,
            IngestServices(predictor=models.predictor),
            self.lanes,
            search=SearchServices(predictor=models.predictor, function=_functions(models)),
        )
        self.services = SlowServices(
            upstream=self.upstream,
            pipelines=self.pipelines,
            resolver=Resolver(self.upstream, own=_lookup(ground.cluster)),
            predictor=models.predictor,
            max_body=settings.max_body,
            settings=ground.settings_now,
        )

    async def close(self) -> None:
        """Close the connections to the cluster."""
        await self.upstream.close()
        self.lanes.close()


def _functions(models: ModelRuntime) -> Callable[[str], Awaitable[FunctionName]]:
    async def function(model_id: str) -> FunctionName:
        return (await models.predictor.model(model_id)).value.algorithm

    return function


def _lookup(cluster: Cluster) -> Callable[[str, str], Awaitable[tuple[int, Any]]]:
    async def ask(method: str, target: str) -> tuple[int, Any]:
        answer = await cluster.attempt(method, target)
        return answer.status, answer.body

    return ask


class Bridge:
    """All parts of one application process, built but not started."""

    def __init__(self, settings: Settings, run_dir: Path) -> None:
        self.settings = settings
        self.health = Health(version=__version__, node=settings.node, roles=list(settings.role_set))
        self.health.wait_for("start", "starting")
        self.ground = Ground(settings)
        self.inference = _inference(settings) if "ml" in settings.role_set else None
        self.models = _runtime(settings, self.ground, self.inference)
        self.models.access.permissions = MlRoles.named(settings.ml_roles)
        self.remote = self._remote()
        self.worker = self._worker() if self.inference else None
        self.proxy = Proxy(settings, self.ground, self.models, run_dir) if "proxy" in settings.role_set else None
        self.health.mention(self.models.troubles)
        if self.inference is not None:
            self.inference.on_exit = self.models.inference_died

    def _remote(self) -> RemoteRegistration:
        made = RemoteRegistration(
            models=self.ground.stores.models,
            tasks=self.ground.stores.tasks,
            groups=self.models.groups,
            connectors=self.ground.connectors,
            node_id=self.ground.node_id,
        )
        self.models.update.connectors = made
        return made

    def _worker(self) -> Worker:
        return Worker(
            self.ground.queue,
            self.models.handlers,
            concurrency=self.settings.task_slots,
            watched=WATCHED,
            poll_every=self.settings.poll_every,
        )

    def web_app(self) -> web.Application:
        """All routes; those of the slow lane come last, since they take everything."""
        app = web.Application(
            middlewares=[error_middleware, _gate(self.health), identity_middleware],
            client_max_size=self.settings.max_body,
        )
        add_health_routes(app, self.health, self.models.figures.now)
        add_rest_routes(app, self._rest_services())
        if self.proxy is not None:
            add_slow_routes(app, self.proxy.services)
        return app

    def _rest_services(self) -> Services:
        return Services(
            cluster=self.ground.cluster,
            names=self.ground.names,
            models=self.ground.stores.models,
            tasks=self.ground.queue,
            groups=self.models.groups,
            access=self.models.access,
            deployer=self.models.deployer,
            removal=self.models.removal,
            chunks=self.ground.stores.chunks,
            configs=self.ground.stores.plugin_config,
            uploads=self.models.uploads,
            update=self.models.update,
            controllers=self.models.controllers,
            reports=self.models.reports,
            profiles=self.models.profiles,
            predictor=self.models.predictor,
            connectors=self.ground.connectors,
            remote=self.remote,
            identities=self.ground.identities,
            internal_token=self.ground.token,
            trusted_url=self.settings.trusted_url_regex,
            allow_register_by_url=self.settings.allow_model_urls,
            settings=self.ground.settings_now,
        )


def _gate(health: Health) -> Any:
    @web.middleware
    async def gate(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        # Before the indices and the pipelines are known, any answer could be wrong.
        if not health.started and not request.path.startswith("/_bridge/health"):
            raise Unavailable(f"the bridge is not ready: {'; '.join(health.reasons)}")
        return await handler(request)

    return gate
