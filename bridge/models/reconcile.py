"""The loop that makes this node hold what the model documents say, for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from bridge.background import Background
from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.node import HeldState
from bridge.errors import BridgeError, EngineError, TooManyRequests, Unavailable
from bridge.models.cache import ContentCache
from bridge.models.eligible import excluded
from bridge.models.held import BLAMED_RETRY, Holding, Inference, content_of
from bridge.models.node import NodePulse
from bridge.models.oversight import MOST, WANTED, Oversight
from bridge.models.statistics import DEPLOY, UNDEPLOY, Statistics
from bridge.models.turns import Turns
from bridge.store.documents import Documents, Stored

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 600.0
_PREFIX = "plugins.ml_commons."


class Reconciler:
    """Loads and unloads; every trigger (poll, nudge, death of the inference process) only starts another look."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        cache: ContentCache,
        inference: Inference,
        pulse: NodePulse,
        oversight: Oversight,
        settings: CurrentSettings | None = None,
        statistics: Statistics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._cache = cache
        self._inference = inference
        self._pulse = pulse
        self._oversight = oversight
        self._settings = settings or FixedSettings()
        self._statistics = statistics or Statistics(self._settings)
        self._clock = clock
        self._held: dict[str, Holding] = {}
        self._nudged = asyncio.Event()
        self._turns = Turns(lambda: self._settings.current.max_deploy_model_tasks_per_node)
        self._background = Background()
        self._swept_at = clock()
        self._stopping = False

    def holds(self, model_id: str) -> bool:
        """Whether this node can run the model now."""
        holding = self._held.get(model_id)
        return holding is not None and holding.state is HeldState.DEPLOYED and holding.wanted

    def nudge(self) -> None:
        """Look again at once."""
        self._nudged.set()

    async def run(self) -> None:
        """Reconcile until `stop`."""
        while not self._stopping:
            self._nudged.clear()
            try:
                await self.reconcile()
            except BridgeError as error:
                # Nothing is unloaded while the cluster cannot be read: models go on serving.
                log.warning("reconciling failed", action="reconcile.failed", reason=error.reason)
            except Exception:
                # A mistake met once must not end deploying for ever.
                log.exception("reconciling failed", action="reconcile.broken")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._oversight.interval)

    async def stop(self) -> None:
        """End the loop and its loads."""
        self._stopping = True
        self._nudged.set()
        await self._background.close()

    async def inference_died(self, loading: frozenset[str]) -> None:
        """Everything that was in the process's memory has to be loaded again; what killed it, later than the rest."""
        suspect = self._held.get(next(iter(loading))) if len(loading) == 1 else None
        for holding in self._held.values():
            if holding.state is HeldState.DEPLOYED:
                holding.loading()
        if suspect is not None and suspect.wanted:
            reason = "the inference process died while it loaded this model"
            suspect.failed(reason, self._clock(), at_least=BLAMED_RETRY)
        await self._publish()
        self.nudge()

    async def reconcile(self) -> None:
        """One look: compare, start what is missing, end what is too much, write the states that follow."""
        # The whole source is asked for: a filtered one comes back with its keys shuffled, and would be written so.
        found = await self._models.search(WANTED, size=MOST)
        # Those deployed first have the first claim on the places of max_model_on_node.
        ordered = sorted(found, key=lambda stored: (stored.value.last_deployed_time or 1 << 62, stored.id))
        wanted = {stored.id: stored for stored in ordered if self._is_mine(stored.value)}
        changed = [self._drop(held) for name, held in list(self._held.items()) if name not in wanted]
        changed += [self._considered(stored) for stored in wanted.values()]
        if any(changed):
            await self._publish()
        await self._oversight.look(found)
        await self._sweep()

    async def idle(self) -> None:
        """Return when no load or unload is in progress."""
        await self._background.settled()

    def _is_mine(self, model: Model) -> bool:
        if model.algorithm is FunctionName.REMOTE:
            return False
        if model.deploy_to_all_nodes:
            return self._pulse.node.name not in excluded(self._settings.current)
        return self._pulse.node_id in (model.planning_worker_nodes or ())

    def _drop(self, holding: Holding) -> bool:
        was_wanted, holding.wanted = holding.wanted, False
        if not holding.busy:
            self._start(holding, self._unload(holding), "unload")
        return was_wanted

    def _considered(self, stored: Stored[Model]) -> bool:
        try:
            return self._consider(stored)
        except Exception:
            # A document that nobody foresaw is that model's trouble alone.
            log.exception("model not considered", action="reconcile.model", model_id=stored.id)
            return False

    def _consider(self, stored: Stored[Model]) -> bool:
        """Whether the report changed."""
        holding = self._held.get(stored.id)
        if holding is None:
            return self._begin(stored)
        revived, holding.wanted = not holding.wanted, True
        holding.stored = stored
        new_plan = stored.value.plan > holding.seen_plan
        holding.seen_plan = max(holding.seen_plan, stored.value.plan)
        if new_plan and holding.state is HeldState.FAILED:
            # What failed for an earlier plan says nothing about this one, a retry in progress belongs to it.
            holding.loading()
        if not holding.busy and self._needs_load(holding):
            self._start(holding, self._load(holding), "load")
        return new_plan or revived

    def _begin(self, stored: Stored[Model]) -> bool:
        redeploy = self._settings.current.model_auto_redeploy_enable
        if not redeploy and stored.value.model_state is not ModelState.DEPLOYING:
            return False
        holding = self._held[stored.id] = Holding(stored, seen_plan=stored.value.plan)
        self._start(holding, self._load(holding), "load")
        return True

    def _needs_load(self, holding: Holding) -> bool:
        due = self._clock() >= holding.retry_at
        if holding.state is HeldState.FAILED:
            return due and self._settings.current.model_auto_redeploy_enable
        if holding.state is HeldState.LOADING:
            return due
        if holding.loaded_plan >= holding.stored.value.plan:
            # What was changed since counts from the next deployment on.
            return False
        holding.loaded_plan = holding.stored.value.plan
        if holding.content == content_of(holding.stored.value):
            return False
        holding.loading()
        return True

    def _start(self, holding: Holding, work: Awaitable[None], verb: str) -> None:
        async def run() -> None:
            await work

        holding.work = self._background.start(run(), name=f"{verb} {holding.stored.id}")

    async def _load(self, holding: Holding) -> None:
        stored = holding.stored
        try:
            self._check_tasks()
            async with self._turns.turn(again=holding.failures + holding.interruptions > 0):
                if holding.wanted:
                    await self._load_once(holding, stored)
        except Unavailable as error:
            # The process died, perhaps of another model, or the cluster did not answer: no fault of this model's yet.
            holding.interrupted(error.reason, self._clock())
        except BridgeError as error:
            holding.failed(error.reason, self._clock())
        except OSError as error:
            holding.failed(f"{error.strerror or error}", self._clock())
        except Exception as error:
            log.exception("model not loaded", action="model.load", model_id=stored.id)
            holding.failed(f"unexpected {type(error).__name__}; see the log of the node", self._clock())
        if holding.state is HeldState.FAILED:
            log.warning("model not loaded", action="model.load", model_id=stored.id, reason=holding.error)
        if not holding.wanted:
            await self._unload(holding)
            return
        await self._publish()
        self.nudge()

    async def _load_once(self, holding: Holding, stored: Stored[Model]) -> None:
        self._admit(holding)
        content = content_of(stored.value)
        folder = await self._cache.folder_of(stored)
        if not holding.wanted:
            return
        await self._inference_up()
        if holding.content is not None and holding.state is not HeldState.DEPLOYED:
            await self._inference.unload(stored.id)
        with self._statistics.doing(DEPLOY, stored.value.algorithm, stored.id):
            threshold = self._settings.current.native_memory_threshold
            loaded = await self._inference.load(stored.id, folder, content[1], native_memory_threshold=threshold)
        holding.loaded(loaded, content, stored.value.plan)
        log.info("model loaded", action="model.load", model_id=stored.id, device=loaded.device)

    def _check_tasks(self) -> None:
        if self._settings.current.max_deploy_model_tasks_per_node <= 0:
            raise TooManyRequests(f"exceed max running task limit: {_PREFIX}max_deploy_model_tasks_per_node is 0")

    def _admit(self, holding: Holding) -> None:
        """Take one of the places of `max_model_on_node`; given back by failing and by leaving. Raises EngineError."""
        limit = self._settings.current.max_model_on_node
        taken = sum(1 for other in self._held.values() if other is not holding and other.admitted)
        if taken >= limit and holding.state is not HeldState.DEPLOYED:
            raise EngineError(
                f"Exceed max local model per node limit: {taken} models are on this node and"
                f" {_PREFIX}max_model_on_node is {limit}"
            )
        holding.admitted = True

    async def _inference_up(self) -> None:
        # A process that just died is started again in moments; a load must not fail for that.
        for _ in range(200):
            if self._inference.alive:
                return
            await asyncio.sleep(0.1)

    async def _unload(self, holding: Holding) -> None:
        model = holding.stored
        try:
            with self._statistics.doing(UNDEPLOY, model.value.algorithm, model.id):
                await self._inference.unload(model.id)
        except BridgeError as error:
            # A process that is down holds nothing.
            log.info("nothing to unload", action="model.unload", model_id=model.id, reason=error.reason)
        holding.content = None
        if holding.wanted:
            # Wanted again while it was being unloaded.
            holding.loading()
            holding.work = None
        else:
            self._held.pop(model.id, None)
        await self._publish()
        self.nudge()

    async def _publish(self) -> None:
        await self._pulse.publish([holding.report() for holding in self._held.values()])

    async def _sweep(self) -> None:
        if self._clock() - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = self._clock()
        every = await self._models.search({"match_all": {}}, size=MOST)
        hashes: Mapping[str, None] = dict.fromkeys((s.value.model_content_hash_value or "").lower() for s in every)
        await self._cache.sweep(hashes.keys())
