"""What this node has in memory or tries to get there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bridge.domain.model import Model
from bridge.domain.node import HeldModel, HeldState
from bridge.domain.tensor import ModelTensor
from bridge.engines.session import ModelSpec
from bridge.models.spec import spec_of
from bridge.store.documents import Stored

FIRST_RETRY = 2.0
LAST_RETRY = 300.0


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
    async def load(self, model_id: str, folder: Path, spec: ModelSpec) -> LoadedModel: ...
    async def unload(self, model_id: str) -> bool: ...
    async def predict(
        self,
        model_id: str,
        texts: Sequence[str],
        *,
        kind: str | None = None,
        target_response: Sequence[str] = (),
        target_response_positions: Sequence[int] = (),
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[list[ModelTensor]]: ...


@dataclass(eq=False)
class Holding:
    """One model on this node. `wanted` False: it goes as soon as the load in progress has ended."""

    stored: Stored[Model]
    state: HeldState = HeldState.LOADING
    seen_seq_no: int = -1
    wanted: bool = True
    error: str | None = None
    device: str | None = None
    memory: int | None = None
    failures: int = 0
    retry_at: float = 0.0
    content: Any = None
    work: asyncio.Task[None] | None = field(default=None, repr=False)

    def report(self) -> HeldModel:
        """As the node's document says it."""
        return HeldModel(
            model_id=self.stored.id,
            state=self.state,
            seen_seq_no=self.seen_seq_no,
            error=self.error,
            device=self.device,
            memory=self.memory,
        )

    def loading(self) -> None:
        """A first try, or one for a new plan; a retry after a failure keeps the FAILED report until it succeeds."""
        self.state = HeldState.LOADING
        self.error = None

    def loaded(self, loaded: LoadedModel, content: Any) -> None:
        self.state = HeldState.DEPLOYED
        self.error = None
        self.failures = 0
        self.device, self.memory, self.content = loaded.device, loaded.memory_bytes, content

    def failed(self, error: str, now: float) -> None:
        self.state = HeldState.FAILED
        self.error = error
        self.content = None
        self.device = self.memory = None
        self.retry_at = now + min(LAST_RETRY, FIRST_RETRY * 2 ** min(self.failures, 20))
        self.failures += 1

    @property
    def busy(self) -> bool:
        """Whether a load or unload is in progress."""
        return self.work is not None and not self.work.done()


def content_of(model: Model) -> tuple[Any, ...]:
    """What must be loaded anew when it differs."""
    return (model.model_content_hash_value, spec_of(model))
