"""The composition root: the only place that builds objects."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge import __version__
from bridge.app.connection import cluster_config
from bridge.domain.names import TaskType
from bridge.domain.node import Node
from bridge.errors import Unavailable
from bridge.models.cache import ContentCache
from bridge.models.chunks import Chunks
from bridge.models.deploy import Deployer
from bridge.models.deploy_task import DeployTask
from bridge.models.download import Downloader, DownloadLimits
from bridge.models.groups import Groups
from bridge.models.inference import InferenceProcess, ProcessOptions
from bridge.models.known import KnownModels
from bridge.models.node import LiveNodes, NodeIdentity, NodePulse
from bridge.models.peers import Peers
from bridge.models.reconcile import Reconciler
from bridge.models.register_task import RegisterTask
from bridge.models.removal import ModelRemoval
from bridge.models.routed_predictor import RoutedPredictor
from bridge.pipelines.cache import PipelineCache
from bridge.processors.ingest import IngestServices
from bridge.proxy.front.table import LaneTable
from bridge.proxy.slow.resolve import Resolver
from bridge.proxy.slow.routes import add_routes as add_slow_routes
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import Upstream
from bridge.rest.errors import error_middleware
from bridge.rest.health import Health, add_health_routes
from bridge.rest.identity import Identities
from bridge.rest.routes import add_routes as add_rest_routes
from bridge.rest.services import Services
from bridge.settings import Settings
from bridge.store.cluster import Cluster
from bridge.store.stores import IndexNames, Stores
from bridge.tasks.job import TaskHandler
from bridge.tasks.queue import TaskQueue
from bridge.tasks.worker import Worker


class Ground:
    """What every role stands on: the cluster, the documents in it, this node's place among the nodes, the queue."""

    def __init__(self, settings: Settings) -> None:
        self.names = IndexNames(settings.index_prefix)
        self.cluster = Cluster(cluster_config(settings))
        self.callers = Cluster(cluster_config(settings, own=False))
        self.stores = Stores.on(self.cluster, self.names)
        self.identity = NodeIdentity(settings.folder)
        self.node_id = self.identity.acquire()
        self.token = secrets.token_urlsafe(24)
        self.pulse = NodePulse(self.node_id, self._node(settings), self.stores.nodes)
        self.live = LiveNodes(self.stores.nodes, own=self.pulse, lease=settings.lease)
        self.queue = TaskQueue(self.stores.tasks, self.stores.claims, node_id=self.node_id, lease=settings.lease)
        self.groups = Groups(self.stores.groups, self.stores.models)
        self.chunks = Chunks(self.stores.chunks)
        self.known = KnownModels(self.stores.models)
        self.peers = Peers(own_id=self.node_id)

    def _node(self, settings: Settings) -> Node:
        return Node(
            name=settings.node,
            address=("https://" if settings.tls_cert else "") + settings.advertised,
            token=self.token,
            roles=settings.role_set,
            version=__version__,
            started_time=int(time.time() * 1000),
        )

    async def close(self) -> None:
        """Close what is open towards the cluster and other nodes."""
        for close in (self.peers.close, self.callers.close, self.cluster.close):
            await close()
        self.identity.release()


class MLNode:
    """The ml role: the inference process, the loop that fills it, the worker of the task queue."""

    def __init__(self, settings: Settings, ground: Ground) -> None:
        self._settings = settings
        self._ground = ground
        self.cache = ContentCache(settings.folder / "models", ground.chunks)
        self.inference = InferenceProcess(self._process_options())
        self.reconciler = Reconciler(
            models=ground.stores.models,
            cache=self.cache,
            inference=self.inference,
            pulse=ground.pulse,
            live=ground.live,
            watch=ground.known.note,
        )
        self.inference.on_exit = self.reconciler.inference_died

    def worker(self, deployer: Deployer) -> Worker:
        """The worker with a handler for each type of task."""
        register: TaskHandler = RegisterTask(
            models=self._ground.stores.models,
            groups=self._ground.groups,
            chunks=self._ground.chunks,
            cache=self.cache,
            downloader=Downloader(self._download_limits()),
            deploy=deployer.deploy,
        )
        deploy: TaskHandler = DeployTask(
            models=self._ground.stores.models,
            live=self._ground.live,
            nudge=self.reconciler.nudge,
            deadline=self._settings.deploy_timeout,
        )
        handlers = {
            TaskType.REGISTER_MODEL: register,
            TaskType.UPLOAD_MODEL: register,
            TaskType.DEPLOY_MODEL: deploy,
            TaskType.LOAD_MODEL: deploy,
        }
        return Worker(
            self._ground.queue,
            handlers,
            concurrency=self._settings.task_slots,
            poll_every=self._settings.poll_every,
            sweep_every=self._settings.sync_every,
        )

    def _process_options(self) -> ProcessOptions:
        settings = self._settings
        limits = {"max_waiting": settings.max_queue}
        if settings.token_budget:
            limits["token_budget"] = settings.token_budget
        return ProcessOptions(
            limits=limits,
            workers=settings.threads or None,
            allow_torchscript=settings.allow_torchscript,
            device=None if settings.device == "auto" else settings.device,
        )

    def _download_limits(self) -> DownloadLimits:
        return DownloadLimits(
            max_bytes=self._settings.max_model_bytes,
            allow_file=self._settings.allow_file_urls,
            trusted_url=self._settings.trusted_url_regex,
        )


class Proxy:
    """The proxy role's slow lane: pipelines, query rewriting, and whatever else the front door sends here."""

    def __init__(self, settings: Settings, ground: Ground, predictor: RoutedPredictor, run_dir: Path) -> None:
        self.upstream = Upstream(settings.cluster_urls, tls=cluster_config(settings, own=False).tls())
        self.lanes = LaneTable(run_dir)
        self.pipelines = PipelineCache(ground.stores.pipelines, IngestServices(predictor=predictor), self.lanes)
        self.services = SlowServices(
            upstream=self.upstream,
            pipelines=self.pipelines,
            resolver=Resolver(self.upstream, own=_lookup(ground.cluster)),
            predictor=predictor,
        )

    async def close(self) -> None:
        """Close the connections to the cluster."""
        await self.upstream.close()
        self.lanes.close()


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
        self.ground = ground = Ground(settings)
        self.ml = MLNode(settings, ground) if "ml" in settings.role_set else None
        self.predictor = RoutedPredictor(
            known=ground.known,
            live=ground.live,
            peers=ground.peers,
            inference=self.ml.inference if self.ml else None,
            holder=self.ml.reconciler if self.ml else None,
        )
        self.deployer = Deployer(
            models=ground.stores.models,
            live=ground.live,
            tasks=ground.queue,
            nudge=self.ml.reconciler.nudge if self.ml else None,
        )
        self.worker = self.ml.worker(self.deployer) if self.ml else None
        self.proxy = Proxy(settings, ground, self.predictor, run_dir) if "proxy" in settings.role_set else None

    def web_app(self) -> web.Application:
        """All routes; those of the slow lane come last, since they take everything."""
        app = web.Application(
            middlewares=[error_middleware, _gate(self.health)], client_max_size=self.settings.max_body
        )
        add_health_routes(app, self.health)
        add_rest_routes(app, self._rest_services())
        if self.proxy is not None:
            add_slow_routes(app, self.proxy.services)
        return app

    def _rest_services(self) -> Services:
        ground = self.ground
        return Services(
            cluster=ground.cluster,
            names=ground.names,
            models=ground.stores.models,
            tasks=ground.queue,
            groups=ground.groups,
            deployer=self.deployer,
            removal=ModelRemoval(
                models=ground.stores.models,
                chunks=ground.chunks,
                chunk_documents=ground.stores.chunks,
                tasks=ground.stores.tasks,
            ),
            predictor=self.predictor,
            identities=Identities(ground.callers),
            internal_token=ground.token,
            trusted_url=self.settings.trusted_url_regex,
            allow_register_by_url=self.settings.allow_model_urls,
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
