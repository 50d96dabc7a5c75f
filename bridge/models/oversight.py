"""What every bridge process does for all models, whether it runs any or not: states that are true, lives that end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES
from bridge.errors import BridgeError, ClusterError, VersionConflict
from bridge.models.groups import now_ms
from bridge.models.node import LiveNodes
from bridge.models.states import settled, undeployed
from bridge.models.uses import Uses
from bridge.store.documents import Documents, Stored

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.5
MOST = 10_000
WANTED = {"terms": {"model_state": [state.value for state in WANTED_STATES]}}
"""Models that somebody has asked to be deployed."""

Watcher = Callable[[Sequence[Stored[Model]]], None]


class Oversight:
    """Writes what follows from the nodes' reports. All come to the same; whoever is second changes nothing."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        live: LiveNodes,
        uses: Uses,
        settings: CurrentSettings | None = None,
        watch: Watcher | None = None,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._models = models
        self._live = live
        self._uses = uses
        self._settings = settings or FixedSettings()
        self._watch = watch
        self._interval = interval
        self._stopped = asyncio.Event()

    @property
    def interval(self) -> float:
        """Seconds to the next look, spread: `sync_up_job_interval_in_seconds` where it is shorter than --sync-every."""
        asked = self._settings.current.sync_up_job_interval_in_seconds
        return (min(self._interval, asked) if asked > 0 else self._interval) * random.uniform(0.8, 1.2)

    async def run(self) -> None:
        """Look until `stop`; for processes without a reconciler, which looks by itself."""
        while not self._stopped.is_set():
            try:
                await self.look(await self._models.search(WANTED, size=MOST))
            except BridgeError as error:
                log.warning("models not looked at", action="oversight.failed", reason=error.reason)
            except Exception:
                # Whatever it was, states must go on being true.
                log.exception("models not looked at", action="oversight.broken")
            try:
                await asyncio.wait_for(self._stopped.wait(), self.interval)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def look(self, found: Sequence[Stored[Model]]) -> None:
        """Settle the states of these models (all that are wanted), and undeploy those that nobody uses any more."""
        if self._watch is not None:
            self._watch(found)
        self._uses.watch(found)
        if not found:
            return
        await self._live.fresh()
        for stored in found:
            if not await self._expire(stored):
                await self._settle(stored)

    async def _settle(self, stored: Stored[Model]) -> None:
        value = settled(stored, self._live.known, now=now_ms(), settings=self._settings.current)
        if value is None or not await self._write(stored, value):
            return
        if value.model_state is not stored.value.model_state:
            log.info(
                "model state", action="model.state", model_id=stored.id, state=value.model_state,
                nodes=value.current_worker_node_count,
            )  # fmt: skip

    async def _expire(self, stored: Stored[Model]) -> bool:
        if self._settings.current.sync_up_job_interval_in_seconds <= 0:
            return False
        if not self._uses.expired(stored, self._live.known):
            return False
        if await self._write(stored, undeployed(stored.value)):
            log.info("model not used any more", action="model.expired", model_id=stored.id)
        return True

    async def _write(self, stored: Stored[Model], value: Model) -> bool:
        try:
            await self._models.replace(stored, value, refresh=True)
        except VersionConflict:
            # Somebody else wrote the same, or something newer: the next look sees.
            return False
        except ClusterError as error:
            # One document that the cluster refuses must not keep the others from being written.
            log.warning("state not written", action="model.state", model_id=stored.id, reason=error.reason)
            return False
        return True
