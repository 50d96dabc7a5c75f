"""The Predictor of a bridge: here when this node holds the model, else at a node that does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.tensor import MLInput, MLOutput, ModelTensor, ModelTensors
from bridge.engines.faults import EngineFault, FaultCode
from bridge.errors import BridgeError, EngineError, Forbidden, InvalidRequest, NotFound, Unavailable
from bridge.models.auto_deploy import NOT_READY, AutoDeploy
from bridge.models.deploy import check_enabled
from bridge.models.held import Inference
from bridge.models.known import KnownModels
from bridge.models.node import LiveNodes
from bridge.models.peers import NotHeld, PeerLost, Peers, local_input
from bridge.models.predictor import PREDICT_SECONDS, Guard, RemoteModels
from bridge.models.states import ANY_PLAN, standings
from bridge.models.statistics import Statistics
from bridge.models.uses import Uses
from bridge.store.documents import Stored

LEAST_LOAD = "least_load"
PATIENCE_SECONDS = 5.0
"""How long a predict waits for a deployed model that no node has at the moment (a node or process is restarting)."""
_LOOK_AGAIN_SECONDS = 0.2
_NODES_MAX_AGE = 3.0
_SLOWEST_LOOK_SECONDS = 1.0
_DEPLOYED = (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED)
_RUNNING = (*_DEPLOYED, ModelState.DEPLOYING)


class Holder(Protocol):
    """Who knows what this node holds; the reconciler."""

    def holds(self, model_id: str) -> bool: ...


class RoutedPredictor:
    """Implements `bridge.models.predictor.Predictor`."""

    def __init__(
        self,
        *,
        known: KnownModels,
        live: LiveNodes,
        peers: Peers,
        inference: Inference | None = None,
        holder: Holder | None = None,
        guards: Sequence[Guard] = (),
        remote: RemoteModels | None = None,
        patience: float = PATIENCE_SECONDS,
        settings: CurrentSettings | None = None,
        auto_deploy: AutoDeploy | None = None,
        uses: Uses | None = None,
        statistics: Statistics | None = None,
        judge: Callable[[Stored[Model], MLOutput], None] | None = None,
    ) -> None:
        self._known = known
        self._live = live
        self._peers = peers
        self._inference = inference
        self._holder = holder
        self._guards = guards
        self._remote = remote
        self._patience = patience
        self._settings = settings or FixedSettings()
        self._auto_deploy = auto_deploy
        self._uses = uses or Uses()
        self._statistics = statistics or Statistics(self._settings)
        self._judge = judge

    async def model(self, model_id: str) -> Stored[Model]:
        """The model's document, a few seconds old at most. Raises NotFound."""
        stored = await self._known.get(model_id)
        if stored is None:
            raise NotFound("Failed to find model")
        return stored

    async def predict(
        self, model_id: str, input: MLInput, *, deadline: float | None = None, caller: Caller | None = None
    ) -> MLOutput:
        """See Predictor.predict."""
        seconds = PREDICT_SECONDS if deadline is None else deadline
        with self._statistics.requested(model_id):
            try:
                stored = await self.model(model_id)
                self._statistics.known(model_id, stored.value.algorithm)
                check_enabled(stored.value, self._settings.current)
                if stored.value.is_enabled is False:
                    raise Forbidden("Model is disabled.")
                for guard in self._guards:
                    await guard.admit(stored, input, caller)
                self._uses.note(model_id)
                if stored.value.algorithm is FunctionName.REMOTE:
                    output = await self._remotely(stored, input, seconds, caller)
                else:
                    output = await self._anywhere(model_id, input, seconds)
                if self._judge is not None:
                    self._judge(stored, output)
                return output
            except BridgeError as error:
                self._statistics.failed(model_id, error)
                raise

    async def predict_here(self, model_id: str, input: MLInput, *, deadline: float) -> MLOutput:
        """Run on this node only; what other nodes call. Raises NotHeld when this node does not have the model."""
        if self._inference is None or self._holder is None or not self._holder.holds(model_id):
            raise NotHeld(NOT_READY)
        try:
            with self._peers.under_way(), self._statistics.inferring(model_id):
                rows = await self._inference.predict(model_id, local_input(input), timeout=deadline)
        except EngineFault as fault:
            if fault.code is FaultCode.NOT_LOADED:
                raise NotHeld(NOT_READY) from fault
            raise
        return MLOutput(inference_results=tuple(ModelTensors(output=_kept(row)) for row in rows))

    async def _remotely(self, stored: Stored[Model], input: MLInput, seconds: float, caller: Caller | None) -> MLOutput:
        if self._remote is None:
            raise InvalidRequest("Remote models are not available on this bridge.")
        if self._auto_deploy is not None and stored.value.model_state not in _RUNNING:
            await self._auto_deploy.ensure(stored.id)
        with self._statistics.inferring(stored.id):
            return await self._remote.predict(stored, input, deadline=seconds, caller=caller)

    async def _anywhere(self, model_id: str, input: MLInput, seconds: float) -> MLOutput:
        loop = asyncio.get_running_loop()
        began = loop.time()
        end = began + seconds
        max_age, pause = _NODES_MAX_AGE, _LOOK_AGAIN_SECONDS
        while True:
            lost: Unavailable | None = None
            try:
                output = await self._once(model_id, input, end - loop.time(), max_age)
                if output is not None:
                    return output
            except (PeerLost, NotHeld) as error:
                lost = error
            except Unavailable as error:
                if self._inference is None or self._inference.alive:
                    raise
                # The inference process died under the call and is being started again.
                lost = error
            worth = min(seconds, await self._worth_waiting(model_id))
            if loop.time() + pause >= began + worth:
                raise lost or Unavailable("No node has the model in memory at the moment.")
            await asyncio.sleep(pause)
            max_age, pause = 0.0, min(_SLOWEST_LOOK_SECONDS, pause * 1.5)

    async def _once(self, model_id: str, input: MLInput, seconds: float, max_age: float) -> MLOutput | None:
        """Here, or at up to two others; None when nobody is known to hold the model.

        By `task_dispatch_policy`: round_robin runs it here wherever it can, and least_load at another node that has
        fewer calls under way.
        """
        here = self._holder is not None and self._holder.holds(model_id)
        if here and not self._sent_away(model_id):
            try:
                return await self.predict_here(model_id, input, deadline=seconds)
            except NotHeld:
                max_age, here = 0.0, False
        nodes = await self._live.fresh(max_age)
        tried: set[str] = set()
        lost: Unavailable | None = None
        for _ in range(2):
            chosen = self._peers.choose(model_id, nodes, tried=tried)
            if chosen is None:
                break
            tried.add(chosen)
            try:
                return await self._peers.predict(chosen, nodes[chosen], model_id, input, seconds=seconds)
            except (NotHeld, PeerLost) as error:
                lost = error
        if here:
            return await self.predict_here(model_id, input, deadline=seconds)
        if lost is not None:
            raise lost
        return None

    def _sent_away(self, model_id: str) -> bool:
        policy = self._settings.current.task_dispatch_policy
        return policy == LEAST_LOAD and self._peers.lighter(model_id, self._live.known)

    async def _worth_waiting(self, model_id: str) -> float:
        """For how many seconds in all to wait for a model that nobody holds; raises the refusal if for none."""
        stored = await self._known.get(model_id, fresh=True)
        if stored is None:
            raise NotFound("Failed to find model")
        if self._auto_deploy is not None and self._auto_deploy.covers(stored.value):
            return await self._deployed_by_use(stored, self._auto_deploy)
        model = stored.value
        if model.model_state in _DEPLOYED or self._coming_back(stored):
            return self._patience
        raise InvalidRequest(NOT_READY)

    async def _deployed_by_use(self, stored: Stored[Model], auto_deploy: AutoDeploy) -> float:
        model = stored.value
        if model.model_state is ModelState.DEPLOY_FAILED and not self._coming_back(stored):
            reasons = standings(stored.id, model.planning_worker_nodes or (), self._live.ml(), since=ANY_PLAN).errors
            raise EngineError(f"The model could not be deployed: {'; '.join(sorted(set(reasons.values())))}")
        if model.model_state not in (*_RUNNING, ModelState.DEPLOY_FAILED):
            await auto_deploy.ensure(stored.id)
        return PREDICT_SECONDS if model.model_state not in _DEPLOYED else self._patience

    def _coming_back(self, stored: Stored[Model]) -> bool:
        """Deployed before and being loaded again, or waiting for a planned node that has gone or has just come back."""
        model = stored.value
        if model.model_state is ModelState.DEPLOYING:
            return model.last_deployed_time is not None
        planned = model.planning_worker_nodes or ()
        if model.model_state is not ModelState.DEPLOY_FAILED or not planned:
            return False
        live = self._live.ml()
        errors = standings(stored.id, planned, live, since=ANY_PLAN).errors
        return not errors or any(node not in live for node in planned)


def _kept(row: list[ModelTensor]) -> tuple[ModelTensor, ...]:
    """Without the tensors that the caller filtered away."""
    return tuple(tensor for tensor in row if any(value is not None for value in vars(tensor).values()))
