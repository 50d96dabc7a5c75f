"""What this node has in memory or tries to get there."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bridge.domain.model import Model
from bridge.domain.node import HeldModel, HeldState
from bridge.domain.tensor import LocalInput, ModelTensor
from bridge.engines.session import ModelSpec
from bridge.models.spec import spec_of
from bridge.store.documents import Stored

FIRST_RETRY = 2.0
LAST_RETRY = 300.0
BLAMED_RETRY = 60.0
"""Seconds before a model is tried again whose load alone was in progress when the inference process died."""
INTERRUPTIONS = 3
"""So often a load may be cut short by a death of the process or the cluster's absence before it counts as failed."""


class LoadedModel(Protocol):
    """What the engine says of a loaded model."""

    @property
    def device(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...


class Inference(Protocol):
    """The part of bridge.models.inference.InferenceProcess that deploying and predicting use."""

    @property
    def alive(self) -> bool: ...
    async def load(
        self, model_id: str, folder: Path, spec: ModelSpec, *, native_memory_threshold: int = 100
    ) -> LoadedModel: ...
    async def unload(self, model_id: str) -> bool: ...
    async def predict(
        self,
        model_id: str,
        input: LocalInput,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[list[ModelTensor]]: ...


@dataclass(eq=False)
class Holding:
    """One model on this node. `wanted` False: it goes as soon as the load in progress has ended.

    `admitted`: it has one of the places that the node has for models.
    """

    stored: Stored[Model]
    state: HeldState = HeldState.LOADING
    seen_plan: int = -1
    wanted: bool = True
    admitted: bool = False
    error: str | None = None
    device: str | None = None
    memory: int | None = None
    failures: int = 0
    interruptions: int = 0
    retry_at: float = 0.0
    loaded_plan: int = -1
    content: Any = None
    work: asyncio.Task[None] | None = field(default=None, repr=False)

    def report(self) -> HeldModel:
        """As the node's document says it."""
        return HeldModel(
            model_id=self.stored.id,
            state=self.state,
            seen_plan=self.seen_plan,
            failures=self.failures,
            error=self.error,
            device=self.device,
            memory=self.memory,
        )

    def loading(self) -> None:
        """A first try, or one for a new plan; a retry after a failure keeps the FAILED report until it succeeds."""
        self.state = HeldState.LOADING
        self.error = None
        self.failures = self.interruptions = 0
        self.retry_at = 0.0

    def loaded(self, loaded: LoadedModel, content: Any, plan: int) -> None:
        """In memory and ready, as plan number `plan` wanted it."""
        self.state = HeldState.DEPLOYED
        self.error = None
        self.failures = self.interruptions = 0
        self.device, self.memory, self.content = loaded.device, loaded.memory_bytes, content
        self.loaded_plan = plan

    def failed(self, error: str, now: float, *, at_least: float = 0.0) -> None:
        """Not loaded, and why; the pause before the next try grows, spread, up to LAST_RETRY. `at_least` in seconds."""
        self.state = HeldState.FAILED
        self.admitted = False
        self.error = error
        self.content = None
        self.device = self.memory = None
        pause = min(LAST_RETRY, max(at_least, FIRST_RETRY) * 2 ** min(self.failures, 20))
        self.retry_at = now + max(at_least, pause) * random.uniform(0.75, 1.25)
        self.failures += 1
        self.interruptions = 0

    def interrupted(self, error: str, now: float) -> None:
        """Cut short by something else than the model: tried again soon, and only the third time in a row a failure."""
        self.interruptions += 1
        if self.failures or self.interruptions >= INTERRUPTIONS:
            self.failed(error, now)
            return
        self.state = HeldState.LOADING
        self.retry_at = now + random.uniform(0.5, 1.5) * self.interruptions

    @property
    def busy(self) -> bool:
        """Whether a load or unload is in progress."""
        return self.work is not None and not self.work.done()


def content_of(model: Model) -> tuple[Any, ...]:
    """What must be loaded anew when it differs."""
    return (model.model_content_hash_value, spec_of(model))
