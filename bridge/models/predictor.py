"""The one door to a model, for REST, processors and query rewriting, and the guards that stand in it."""

from __future__ import annotations

from typing import Protocol

from bridge.domain.caller import Caller
from bridge.domain.model import Model
from bridge.domain.tensor import MLInput, MLOutput
from bridge.store.documents import Stored

PREDICT_SECONDS = 60.0
"""Time a predict may take by default, waiting for a free model included."""


class Predictor(Protocol):
    """Whoever can run a model."""

    async def predict(
        self, model_id: str, input: MLInput, *, deadline: float | None = None, caller: Caller | None = None
    ) -> MLOutput:
        """Run the model on `input`; `deadline` is in seconds from now (None: PREDICT_SECONDS).

        Raises NotFound (no such model), InvalidRequest (not deployed, bad input), Forbidden (disabled, or not this
        caller's), TooManyRequests (queue full, rate exceeded), EngineError (the model failed) and Unavailable (no node
        answered in time).
        """
        ...


class Guard(Protocol):
    """Something that may refuse a predict before it costs anything: access, rate limits, the model's interface."""

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """Raises the BridgeError that the client gets."""
        ...


class RemoteModels(Protocol):
    """Runs models of function REMOTE through their connector (bridge/connectors)."""

    async def predict(
        self, stored: Stored[Model], input: MLInput, *, deadline: float, caller: Caller | None = None
    ) -> MLOutput:
        """One call, at most `deadline` seconds. Raises InvalidRequest, ClusterError-like passed-on statuses,
        EngineError and Unavailable."""
        ...
