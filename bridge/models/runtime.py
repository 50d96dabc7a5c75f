"""The model side of one bridge process, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from bridge.background import Background
from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.names import TaskType
from bridge.domain.node import Node
from bridge.errors import BridgeError
from bridge.models.access import Access
from bridge.models.auto_deploy import AutoDeploy
from bridge.models.cache import ContentCache
from bridge.models.chunks import Chunks
from bridge.models.controllers import Controllers
from bridge.models.deploy import Deployer
from bridge.models.deploy_task import DEADLINE_SECONDS, DeployTask
from bridge.models.download import Downloader
from bridge.models.figures import Figures
from bridge.models.groups import Groups
from bridge.models.held import Inference
from bridge.models.interface import InterfaceGuard
from bridge.models.known import KnownModels
from bridge.models.limits import DiskLimit, RateLimits
from bridge.models.node import BEAT_SECONDS, LEASE_SECONDS, LiveNodes, NodePulse
from bridge.models.node_reports import NodeReports
from bridge.models.oversight import INTERVAL_SECONDS, Oversight
from bridge.models.peers import Peers
from bridge.models.predictor import RemoteModels
from bridge.models.pretrained import ModelRepository
from bridge.models.profile import Profiles
from bridge.models.reconcile import Reconciler
from bridge.models.register_task import RegisterTask
from bridge.models.removal import ModelRemoval
from bridge.models.routed_predictor import RoutedPredictor
from bridge.models.statistics import Statistics
from bridge.models.task_count import counted
from bridge.models.task_limit import TaskLimit
from bridge.models.update import ModelUpdate
from bridge.models.upload import Uploads
from bridge.models.uses import Uses
from bridge.store.stores import Stores
from bridge.tasks.job import TaskHandler
from bridge.tasks.queue import TaskQueue

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 300.0
WATCHED = (TaskType.DEPLOY_MODEL,)
"""Tasks that only wait for what nodes do by themselves."""

Describe = Callable[[], Awaitable[dict[str, object]]]
"""Fields of the node document that change: devices, memory_free."""


class ModelRuntime:
    """Everything about models in one process; without `inference` it runs none itself and asks other nodes.

    `node` describes this process (name, address, token, roles, version). Set `inference.on_exit` to
    `runtime.inference_died`.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        queue: TaskQueue,
        node_id: str,
        node: Node,
        data_dir: Path,
        inference: Inference | None = None,
        downloader: Downloader | None = None,
        describe: Describe | None = None,
        lease: float = LEASE_SECONDS,
        deploy_seconds: float = DEADLINE_SECONDS,
        interval: float = INTERVAL_SECONDS,
        settings: CurrentSettings | None = None,
        auto_deploy_local: bool = False,
        remote: RemoteModels | None = None,
        repository: str = "",
    ) -> None:
        self._describe = describe
        self.settings = settings or FixedSettings()
        self._background = Background()
        self.uses = Uses()
        self.pulse = NodePulse(node_id, node, stores.nodes, every=min(BEAT_SECONDS, lease / 4), idle=self.uses.idle)
        self.live = LiveNodes(stores.nodes, own=self.pulse, lease=lease)
        self.known = KnownModels(stores.models)
        self.peers = Peers(own_id=node_id)
        chunks = Chunks(stores.chunks)
        self.cache = ContentCache(data_dir / "models", chunks)
        self.access = Access(stores.groups, self.settings, stores.models)
        self.groups = Groups(stores.groups, stores.models, self.access)
        downloader = downloader or Downloader()
        self._register_and_remove(stores, chunks, downloader, repository)
        self._count_and_guard(stores, node_id, data_dir)
        self._deploy_and_watch(stores, queue, inference, interval)
        self.predictor = self._predictor(inference, auto_deploy_local, remote)
        self.handlers = self._handlers(stores, chunks, downloader, deploy_seconds)

    def _register_and_remove(self, stores: Stores, chunks: Chunks, downloader: Downloader, repository: str) -> None:
        self.removal = ModelRemoval(stores, chunks=chunks, groups=self.groups, known=self.known)
        self._repository = ModelRepository(repository, downloader.limits)
        self.uploads = Uploads(
            models=stores.models,
            groups=self.groups,
            chunks=chunks,
            cache=self.cache,
            known=self.known,
            most_bytes=downloader.limits.max_bytes,
        )
        self.update = ModelUpdate(models=stores.models, groups=self.groups, access=self.access, known=self.known)

    def _deploy_and_watch(self, stores: Stores, queue: TaskQueue, inference: Inference | None, interval: float) -> None:
        self.oversight = Oversight(
            models=stores.models,
            live=self.live,
            uses=self.uses,
            settings=self.settings,
            watch=self.known.note,
            interval=interval,
        )
        self.reconciler = self._reconciler(stores, inference)
        self.deployer = Deployer(
            models=stores.models,
            live=self.live,
            tasks=queue,
            nudge=self.nudge,
            settings=self.settings,
            must_be_whole=self.uploads.must_be_whole,
            changed=lambda stored: self.known.note([stored]),
        )

    def _count_and_guard(self, stores: Stores, node_id: str, data_dir: Path) -> None:
        self.statistics = Statistics(self.settings)
        self.controllers = Controllers(
            stores.controllers, stores.models, settings=self.settings, access=self.access, known=self.known
        )
        self.interface = InterfaceGuard()
        rates = RateLimits(self.controllers, lambda: self.live.known)
        disk = DiskLimit(data_dir, self.settings, opened=self.statistics.broke)
        self._guards = (self.access, rates, self.interface, disk)
        self.reports = NodeReports(node_id, self.live, self.statistics)
        self.figures = Figures(self.statistics, self.live, self.known)
        self.profiles = Profiles(stores.models, stores.tasks, reports=self.reports, access=self.access)

    def _handlers(
        self, stores: Stores, chunks: Chunks, downloader: Downloader, deploy_seconds: float
    ) -> dict[TaskType, TaskHandler]:
        register = self._register_task(stores, chunks, downloader)
        deploy = DeployTask(
            models=stores.models, live=self.live, nudge=self.nudge, settings=self.settings, deadline=deploy_seconds
        )
        return {
            TaskType.REGISTER_MODEL: TaskLimit(
                counted(register, self.statistics), "max_register_model_tasks_per_node", self.settings
            ),
            TaskType.DEPLOY_MODEL: deploy,
        }

    def _predictor(
        self, inference: Inference | None, auto_deploy_local: bool, remote: RemoteModels | None
    ) -> RoutedPredictor:
        return RoutedPredictor(
            known=self.known,
            live=self.live,
            peers=self.peers,
            inference=inference,
            holder=self.reconciler,
            guards=self._guards,
            judge=self.interface.judge,
            statistics=self.statistics,
            settings=self.settings,
            auto_deploy=AutoDeploy(
                known=self.known, deploys=self.deployer, settings=self.settings, local=auto_deploy_local
            ),
            uses=self.uses,
            remote=remote,
        )

    def _register_task(self, stores: Stores, chunks: Chunks, downloader: Downloader) -> RegisterTask:
        return RegisterTask(
            models=stores.models,
            groups=self.groups,
            chunks=chunks,
            cache=self.cache,
            downloader=downloader,
            deploy=self.deployer.deploy,
            repository=self._repository,
        )

    def nudge(self) -> None:
        """Make the reconciler look again at once, if this process has one."""
        if self.reconciler is not None:
            self.reconciler.nudge()

    async def inference_died(self, loading: frozenset[str]) -> None:
        """See Reconciler.inference_died."""
        if self.reconciler is not None:
            await self.reconciler.inference_died(loading)

    async def run(self) -> None:
        """Beat, watch and reconcile until `stop`. The indices must be there. Raises ClusterUnavailable at the start."""
        await asyncio.to_thread(self.cache.prepare)
        await self._refresh_description()
        await self.pulse.beat(refresh=True)
        loops = [self._background.start(self.pulse.run(), name="node pulse")]
        loops.append(self._background.start(self.live.run(), name="live nodes"))
        if self.reconciler is None:
            loops.append(self._background.start(self.oversight.run(), name="oversight"))
        else:
            loops.append(self._background.start(self.reconciler.run(), name="reconcile"))
            loops.append(self._background.start(self._tend(), name="model upkeep"))
        await asyncio.wait(loops)

    async def stop(self) -> None:
        """End the loops and take this node's document away."""
        await self.live.stop()
        await self.oversight.stop()
        if self.reconciler is not None:
            await self.reconciler.stop()
        await self.pulse.stop()
        await self._background.close()
        await self.peers.close()
        await self.reports.close()

    def _reconciler(self, stores: Stores, inference: Inference | None) -> Reconciler | None:
        if inference is None:
            return None
        return Reconciler(
            models=stores.models,
            cache=self.cache,
            inference=inference,
            pulse=self.pulse,
            oversight=self.oversight,
            settings=self.settings,
            statistics=self.statistics,
        )

    def troubles(self) -> list[str]:
        """What keeps this process from doing all of its part, for probes; plain requests are served all the same."""
        return [f"this node's document cannot be written: {self.pulse.trouble}"] if self.pulse.trouble else []

    async def _tend(self) -> None:
        """Keep the description up to date and clear what killed workers left."""
        passed = 0.0
        while True:
            await asyncio.sleep(10.0)
            passed += 10.0
            await self._refresh_description()
            if passed >= SWEEP_SECONDS:
                passed = 0.0
                try:
                    await self.removal.sweep()
                except BridgeError as error:
                    log.warning("sweep failed", action="register.sweep", reason=error.reason)
                except Exception:
                    log.exception("sweep failed", action="register.sweep")

    async def _refresh_description(self) -> None:
        if self._describe is None:
            return
        try:
            self.pulse.describe(**await self._describe())
        except BridgeError as error:
            log.warning("devices not read", action="node.describe", reason=error.reason)
        except Exception:
            # The description is of use, but nothing depends on it.
            log.exception("devices not read", action="node.describe")
