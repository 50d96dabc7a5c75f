"""From a plan and the nodes' reports to the state that a model is in; pure, so that every node comes to the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, ModelState
from bridge.domain.node import HeldModel, HeldState, Node
from bridge.store.documents import Stored

_RETRY_RATIO = 0.8
"""Share of planned nodes from which on ML Commons resets `auto_redeploy_retry_times`."""


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


def standings(model_id: str, planned: Iterable[str], nodes: Mapping[str, Node], *, since: int) -> Standings:
    """Judge each planned node; reports on documents older than sequence number `since` do not count."""
    of: dict[str, Standing] = {}
    errors: dict[str, str] = {}
    for node_id in planned:
        report = report_of(nodes.get(node_id), model_id)
        if node_id not in nodes:
            of[node_id] = Standing.GONE
            errors[node_id] = "the node has left the cluster"
        elif report is None or report.seen_seq_no < since or report.state is HeldState.LOADING:
            of[node_id] = Standing.PENDING
        elif report.state is HeldState.DEPLOYED:
            of[node_id] = Standing.HELD
        else:
            of[node_id] = Standing.FAILED
            errors[node_id] = report.error or "unknown"
    return Standings(of, errors)


def settled(stored: Stored[Model], ml_nodes: Mapping[str, Node], *, now: int) -> Model | None:
    """The document as it should be, or None when it is right already (or nobody wants the model deployed).

    `ml_nodes` are the live nodes that run models; `now` is epoch milliseconds. Rules: contract of ML Commons 3.6.0,
    sync-up job; failed and gone nodes end a deployment, a node that is still loading keeps it DEPLOYING.
    """
    model = stored.value
    if model.model_state not in WANTED_STATES:
        return None
    planned = _planned(model, ml_nodes)
    deploying = model.model_state is ModelState.DEPLOYING
    since = stored.version.seq_no if deploying else -1
    judged = standings(stored.id, planned, ml_nodes, since=since)
    held = judged.count(Standing.HELD)
    state = _state(judged, held, deploying=deploying)
    waiting = deploying and state is ModelState.DEPLOYING
    value = replace(
        model,
        model_state=state,
        # Not while nodes are awaited: each write makes a new version that they have to see first, and two nodes that
        # end at different times would be waited for without end.
        current_worker_node_count=model.current_worker_node_count if waiting else held,
        planning_worker_nodes=planned,
        planning_worker_node_count=len(planned),
    )
    if deploying and state is not ModelState.DEPLOYING:
        value = replace(value, last_deployed_time=now)
        if planned and held >= _RETRY_RATIO * len(planned):
            value = replace(value, auto_redeploy_retry_times=0)
    return None if value == model else value


def _planned(model: Model, ml_nodes: Mapping[str, Node]) -> tuple[str, ...]:
    planned = model.planning_worker_nodes or ()
    if model.deploy_to_all_nodes and ml_nodes and set(planned) != set(ml_nodes):
        return tuple(sorted(ml_nodes))
    return planned


def _state(judged: Standings, held: int, *, deploying: bool) -> ModelState:
    pending = judged.count(Standing.PENDING)
    if deploying and pending:
        return ModelState.DEPLOYING
    if not held:
        return ModelState.DEPLOYING if pending else ModelState.DEPLOY_FAILED
    return ModelState.DEPLOYED if held == len(judged.of) else ModelState.PARTIALLY_DEPLOYED
