"""From a plan and the nodes' reports to the state that a model is in; pure, so that every node comes to the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from bridge.domain.cluster_settings import ClusterSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, FunctionName, ModelState
from bridge.domain.node import HeldModel, HeldState, Node
from bridge.models.eligible import eligible, runners
from bridge.store.documents import Stored

ANY_PLAN = -1
"""`since` for a judgement in which every report counts."""
GONE = "the node has left the cluster"
NOT_AGAIN = "not loaded again by itself: plugins.ml_commons.model_auto_redeploy.enable is false"
_DEFAULTS = ClusterSettings()


class Standing(StrEnum):
    """How far a planned node is."""

    HELD = "HELD"
    PENDING = "PENDING"
    FAILED = "FAILED"
    GONE = "GONE"


@dataclass(frozen=True)
class Standings:
    """Planned nodes by standing, and what failed nodes said."""

    of: Mapping[str, Standing]
    errors: Mapping[str, str]

    def count(self, *standings: Standing) -> int:
        return sum(1 for standing in self.of.values() if standing in standings)


def report_of(node: Node | None, model_id: str) -> HeldModel | None:
    """What the node says of the model."""
    if node is None:
        return None
    return next((held for held in node.models if held.model_id == model_id), None)


def holders(model_id: str, nodes: Mapping[str, Node]) -> list[str]:
    """Nodes that have or are getting the model into memory."""
    reports = {node_id: report_of(node, model_id) for node_id, node in nodes.items()}
    return [
        node_id for node_id, report in reports.items() if report is not None and report.state is not HeldState.FAILED
    ]


def standings(
    model_id: str, planned: Iterable[str], nodes: Mapping[str, Node], *, since: int, expected: bool = True
) -> Standings:
    """Judge each planned node; reports on plans before number `since` do not count.

    `expected` False: a node that says nothing of the model is not going to load it by itself.
    """
    of: dict[str, Standing] = {}
    errors: dict[str, str] = {}
    for node_id in planned:
        report = report_of(nodes.get(node_id), model_id)
        if node_id not in nodes:
            of[node_id] = Standing.GONE
            errors[node_id] = GONE
        elif report is None and not expected:
            of[node_id] = Standing.FAILED
            errors[node_id] = NOT_AGAIN
        elif report is None or report.seen_plan < since or report.state is HeldState.LOADING:
            of[node_id] = Standing.PENDING
        elif report.state is HeldState.DEPLOYED:
            of[node_id] = Standing.HELD
        else:
            of[node_id] = Standing.FAILED
            errors[node_id] = report.error or "unknown"
    return Standings(of, errors)


def settled(
    stored: Stored[Model], nodes: Mapping[str, Node], *, now: int, settings: ClusterSettings = _DEFAULTS
) -> Model | None:
    """The document as it should be, or None when it is right already (or nobody wants the model deployed).

    `nodes` are the live nodes; `now` is epoch milliseconds. Rules: contract of ML Commons 3.6.0, sync-up job; failed
    and gone nodes end a deployment, a node that is still loading keeps it DEPLOYING.
    """
    model = stored.value
    if model.model_state not in WANTED_STATES:
        return None
    deploying = model.model_state is ModelState.DEPLOYING
    able = eligible(nodes, settings, model.algorithm)
    planned = _planned(model, able, settings)
    judged = _judged(stored, planned, runners(nodes, model.algorithm), settings)
    held = judged.count(Standing.HELD)
    state = _state(judged, held, deploying=deploying)
    value = replace(
        model,
        model_state=state,
        current_worker_node_count=held,
        planning_worker_nodes=planned,
        planning_worker_node_count=len(planned),
        auto_redeploy_retry_times=_retries(stored, planned, held, nodes, settings),
    )
    if deploying and state is not ModelState.DEPLOYING:
        value = replace(value, last_deployed_time=now)
        if planned and held >= settings.model_auto_redeploy_success_ratio * len(planned):
            value = replace(value, auto_redeploy_retry_times=0)
    return None if value == model else value


def undeployed(model: Model) -> Model:
    """The model without a plan, as ML Commons leaves it (`deploy_to_all_nodes` stays as it was)."""
    return replace(
        model,
        model_state=ModelState.UNDEPLOYED,
        planning_worker_nodes=None,
        planning_worker_node_count=0,
        current_worker_node_count=0,
    )


def _judged(
    stored: Stored[Model], planned: tuple[str, ...], able: Mapping[str, Node], settings: ClusterSettings
) -> Standings:
    model = stored.value
    if model.algorithm is FunctionName.REMOTE:
        # Nothing is loaded: whoever lives can call the connector.
        of = {each: Standing.HELD if each in able else Standing.GONE for each in planned}
        return Standings(of, {each: GONE for each, standing in of.items() if standing is Standing.GONE})
    deploying = model.model_state is ModelState.DEPLOYING
    since = model.plan if deploying else ANY_PLAN
    expected = deploying or settings.model_auto_redeploy_enable
    return standings(stored.id, planned, able, since=since, expected=expected)


def _planned(model: Model, able: Mapping[str, Node], settings: ClusterSettings) -> tuple[str, ...]:
    planned = model.planning_worker_nodes or ()
    refreshed = settings.sync_up_job_interval_in_seconds > 0
    if model.deploy_to_all_nodes and refreshed and able and set(planned) != set(able):
        return tuple(sorted(able))
    return planned


def _retries(
    stored: Stored[Model],
    planned: tuple[str, ...],
    held: int,
    nodes: Mapping[str, Node],
    settings: ClusterSettings,
) -> int | None:
    """ML Commons counts redeployments until one succeeds; here nodes retry by themselves and say how often they did."""
    known = stored.value.auto_redeploy_retry_times
    if planned and held >= settings.model_auto_redeploy_success_ratio * len(planned):
        return 0 if known else known
    reports = (report_of(nodes.get(each), stored.id) for each in planned)
    retries = max((report.failures - 1 for report in reports if report is not None), default=0)
    return retries if retries > 0 else known


def _state(judged: Standings, held: int, *, deploying: bool) -> ModelState:
    pending = judged.count(Standing.PENDING)
    if deploying and pending:
        return ModelState.DEPLOYING
    if not held:
        return ModelState.DEPLOYING if pending else ModelState.DEPLOY_FAILED
    return ModelState.DEPLOYED if held == len(judged.of) else ModelState.PARTIALLY_DEPLOYED
