"""The one door to a model, for REST, processors and query rewriting."""

from __future__ import annotations

from typing import Protocol

from bridge.domain.tensor import MLInput, MLOutput

PREDICT_SECONDS = 60.0
"""Time a predict may take by default, waiting for a free model included."""


class Predictor(Protocol):
    """Whoever can run a model."""

    async def predict(self, model_id: str, input: MLInput, *, deadline: float | None = None) -> MLOutput:
        """Run the model on `input`; `deadline` is in seconds from now (None: PREDICT_SECONDS).

        Raises NotFound (no such model), InvalidRequest (not deployed, bad input), Forbidden (disabled),
        TooManyRequests (queue full), EngineError (the model failed) and Unavailable (no node answered in time).
        """
        ...
