"""What `/_bridge/metrics` shows of models."""

from __future__ import annotations

from bridge.domain.names import WANTED_STATES, FunctionName
from bridge.errors import BridgeError
from bridge.metrics import ModelFigures
from bridge.models.known import KnownModels
from bridge.models.node import LiveNodes
from bridge.models.statistics import Statistics


class Figures:
    """Models that are deployed anywhere, and how fast they answer here."""

    def __init__(self, statistics: Statistics, live: LiveNodes, known: KnownModels) -> None:
        self._statistics = statistics
        self._live = live
        self._known = known

    async def now(self) -> ModelFigures:
        """A remote model is in no node's memory: its document says whether it is deployed."""
        shown = {held.model_id for node in self._live.known.values() for held in node.models}
        remote = [name for name, what in self._statistics.models().items() if what is FunctionName.REMOTE]
        shown.update([model_id for model_id in remote if await self._deployed(model_id)])
        quantiles = {model_id: self._statistics.seconds(model_id) for model_id in sorted(shown)}
        return ModelFigures(frozenset(shown), {name: found for name, found in quantiles.items() if found})

    async def _deployed(self, model_id: str) -> bool:
        try:
            stored = await self._known.get(model_id)
        except BridgeError:
            # Nobody knows: figures that may be old are better than none.
            return True
        return stored is not None and stored.value.model_state in WANTED_STATES
