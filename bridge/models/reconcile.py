"""The loop that makes this node hold what the model documents say, for ever."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from bridge.background import Background
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, ModelState
from bridge.domain.node import HeldState
from bridge.errors import BridgeError, VersionConflict
from bridge.models.cache import ContentCache
from bridge.models.groups import now_ms
from bridge.models.held import Holding, Inference, content_of
from bridge.models.node import LiveNodes, NodePulse
from bridge.models.states import settled
from bridge.store.documents import Documents, Stored

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.5
SWEEP_SECONDS = 600.0
LOADS_AT_ONCE = 2
_WANTED = {"terms": {"model_state": [state.value for state in WANTED_STATES]}}
_MOST = 1000

Watcher = Callable[[Sequence[Stored[Model]]], None]


class Reconciler:
    """Loads and unloads; every trigger (poll, nudge, death of the inference process) only starts another look."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        cache: ContentCache,
        inference: Inference,
        pulse: NodePulse,
        live: LiveNodes,
        watch: Watcher | None = None,
        interval: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._cache = cache
        self._inference = inference
        self._pulse = pulse
        self._live = live
        self._watch = watch
        self._interval = interval
        self._clock = clock
        self._held: dict[str, Holding] = {}
        self._nudged = asyncio.Event()
        self._loads = asyncio.Semaphore(LOADS_AT_ONCE)
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
            try:
                await asyncio.wait_for(self._nudged.wait(), self._interval * random.uniform(0.8, 1.2))
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End the loop and its loads."""
        self._stopping = True
        self._nudged.set()
        await self._background.close()

    async def inference_died(self, loading: frozenset[str]) -> None:
        """Everything that was in the process's memory has to be loaded again."""
        for holding in self._held.values():
            if holding.state is HeldState.DEPLOYED:
                holding.loading()
        await self._publish()
        self.nudge()

    async def reconcile(self) -> None:
        """One look: compare, start what is missing, end what is too much, write the states that follow."""
        # The whole source is asked for: a filtered one comes back with its keys shuffled, and would be written so.
        found = await self._models.search(_WANTED, size=_MOST)
        wanted = {stored.id: stored for stored in found if self._is_mine(stored.value)}
        if self._watch is not None:
            self._watch(found)
        changed = [self._drop(held) for name, held in list(self._held.items()) if name not in wanted]
        changed += [self._consider(stored) for stored in wanted.values()]
        if any(changed):
            await self._publish()
        await self.settle(found)
        await self._sweep()

    async def settle(self, found: Sequence[Stored[Model]]) -> None:
        """Write the states that follow from the nodes' reports; whoever comes second changes nothing."""
        if not found:
            return
        await self._live.fresh()
        nodes = self._live.ml()
        for stored in found:
            value = settled(stored, nodes, now=now_ms())
            if value is None:
                continue
            try:
                await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            if value.model_state is not stored.value.model_state:
                log.info(
                    "model state", action="model.state", model_id=stored.id, state=value.model_state,
                    nodes=value.current_worker_node_count,
                )  # fmt: skip

    async def idle(self) -> None:
        """Return when no load or unload is in progress."""
        await self._background.settled()

    def _is_mine(self, model: Model) -> bool:
        if model.deploy_to_all_nodes:
            return True
        return self._pulse.node_id in (model.planning_worker_nodes or ())

    def _drop(self, holding: Holding) -> bool:
        if not holding.wanted:
            return False
        holding.wanted = False
        if not holding.busy:
            self._start(holding, self._unload(holding), "unload")
        return True

    def _consider(self, stored: Stored[Model]) -> bool:
        """Whether the report changed."""
        holding = self._held.get(stored.id)
        if holding is None:
            holding = self._held[stored.id] = Holding(stored, seen_seq_no=stored.version.seq_no)
            self._start(holding, self._load(holding), "load")
            return True
        revived, holding.wanted = not holding.wanted, True
        holding.stored = stored
        new_plan = stored.value.model_state is ModelState.DEPLOYING and stored.version.seq_no > holding.seen_seq_no
        if new_plan:
            holding.seen_seq_no = stored.version.seq_no
        if holding.busy:
            return new_plan or revived
        if self._needs_load(holding, new_plan=new_plan):
            if new_plan:
                holding.loading()
            self._start(holding, self._load(holding), "load")
        return new_plan or revived

    def _needs_load(self, holding: Holding, *, new_plan: bool) -> bool:
        if holding.state is HeldState.FAILED:
            return new_plan or self._clock() >= holding.retry_at
        if holding.state is HeldState.DEPLOYED:
            return new_plan and holding.content != content_of(holding.stored.value)
        return True

    def _start(self, holding: Holding, work: Awaitable[None], verb: str) -> None:
        async def run() -> None:
            await work

        holding.work = self._background.start(run(), name=f"{verb} {holding.stored.id}")

    async def _load(self, holding: Holding) -> None:
        stored = holding.stored
        try:
            async with self._loads:
                if holding.wanted:
                    await self._load_once(holding, stored)
        except BridgeError as error:
            holding.failed(error.reason, self._clock())
        except OSError as error:
            holding.failed(f"{error.strerror or error}", self._clock())
        if holding.state is HeldState.FAILED:
            log.warning("model not loaded", action="model.load", model_id=stored.id, reason=holding.error)
        if not holding.wanted:
            await self._unload(holding)
            return
        await self._publish()
        self.nudge()

    async def _load_once(self, holding: Holding, stored: Stored[Model]) -> None:
        content = content_of(stored.value)
        folder = await self._cache.folder_of(stored)
        if not holding.wanted:
            return
        await self._inference_up()
        if holding.content is not None and holding.state is not HeldState.DEPLOYED:
            await self._inference.unload(stored.id)
        loaded = await self._inference.load(stored.id, folder, content[1])
        holding.loaded(loaded, content)
        log.info("model loaded", action="model.load", model_id=stored.id, device=loaded.device)

    async def _inference_up(self) -> None:
        # A process that just died is started again in moments; a load must not fail for that.
        for _ in range(200):
            if self._inference.alive:
                return
            await asyncio.sleep(0.1)

    async def _unload(self, holding: Holding) -> None:
        try:
            await self._inference.unload(holding.stored.id)
        except BridgeError as error:
            # A process that is down holds nothing.
            log.info("nothing to unload", action="model.unload", model_id=holding.stored.id, reason=error.reason)
        holding.content = None
        if holding.wanted:
            # Wanted again while it was being unloaded.
            holding.loading()
            holding.work = None
        else:
            self._held.pop(holding.stored.id, None)
        await self._publish()
        self.nudge()

    async def _publish(self) -> None:
        await self._pulse.publish([holding.report() for holding in self._held.values()])

    async def _sweep(self) -> None:
        if self._clock() - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = self._clock()
        every = await self._models.search({"match_all": {}}, size=10_000)
        hashes: Mapping[str, None] = dict.fromkeys((s.value.model_content_hash_value or "").lower() for s in every)
        await self._cache.sweep(hashes.keys())
