"""Limits that stand before a predict: rates of models and users, and the disk."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, FunctionName
from bridge.domain.node import Node
from bridge.domain.tensor import MLInput
from bridge.errors import TooManyRequests
from bridge.models.controllers import Controllers
from bridge.models.token_bucket import TokenBucket, rate_of
from bridge.store.documents import Stored

MODEL_LEVEL = "Request is throttled at model level."
USER_LEVEL = "Request is throttled at user level. If you think there's an issue, please contact your cluster admin."
_PROXY = "proxy"
_MOST = 10_000
_LOOK_SECONDS = 5.0


class RateLimits:
    """A bridge.models.predictor.Guard: token buckets for each model and for each of its users with a controller.

    A limit counts for the whole cluster; each bridge that clients call (role `proxy`) has an even share of it, and
    never less than one call at once (rules of ML Commons, whose shares go to the nodes that may hold the model).
    """

    def __init__(
        self,
        controllers: Controllers,
        nodes: Callable[[], Mapping[str, Node]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controllers = controllers
        self._nodes = nodes
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str | None], tuple[Mapping[str, Any], TokenBucket]] = OrderedDict()

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """See Guard; raises TooManyRequests with the seconds until the next call may pass."""
        model = stored.value
        if model.algorithm is not FunctionName.REMOTE and model.model_state not in WANTED_STATES:
            # It is about to be refused, which costs nobody anything.
            return
        self._take(stored.id, None, model.rate_limiter, MODEL_LEVEL)
        if caller is not None:
            limiter = await self._controllers.limiter(stored, caller)
            self._take(stored.id, caller.name, limiter, USER_LEVEL)

    def _take(self, model_id: str, user: str | None, limiter: Mapping[str, Any] | None, refusal: str) -> None:
        key = (model_id, user)
        rate = rate_of(limiter, self._share()) if limiter else None
        if rate is None or limiter is None:
            self._buckets.pop(key, None)
            return
        known = self._buckets.get(key)
        if known is None or known[0] != limiter:
            # A changed limit counts at once and begins anew.
            known = (limiter, TokenBucket(rate, self._clock))
        bucket = known[1]
        if bucket.rate != rate:
            # Another number of bridges: nobody gets more calls by coming and going.
            bucket.change(rate)
        self._buckets[key] = known
        self._buckets.move_to_end(key)
        while len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        if not bucket.take():
            raise TooManyRequests(refusal, kind="status_exception", retry_after=bucket.wait())

    def _share(self) -> int:
        return max(1, sum(_PROXY in node.roles for node in self._nodes().values()))


class DiskLimit:
    """A Guard: no local predict while this node's data folder has less room than `disk_free_space_threshold`."""

    def __init__(
        self,
        folder: Path,
        settings: CurrentSettings,
        *,
        opened: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._opened = opened
        self._clock = clock
        self._free = free or _free
        self._seen: tuple[float, int] | None = None

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """See Guard; raises TooManyRequests as ML Commons' open circuit breaker does."""
        least = self._settings.current.disk_free_space_threshold
        if least <= 0 or stored.value.algorithm is FunctionName.REMOTE:
            return
        now = self._clock()
        if self._seen is None or now - self._seen[0] >= _LOOK_SECONDS:
            self._seen = (now, await asyncio.to_thread(self._free, self._folder))
        if self._seen[1] < least:
            if self._opened is not None:
                self._opened()
            raise TooManyRequests(
                "Disk Circuit Breaker is open, please check your resources!",
                kind="circuit_breaking_exception",
                retry_after=int(_LOOK_SECONDS),
                bytes_wanted=0,
                bytes_limit=0,
                durability="TRANSIENT",
            )


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
