"""The pure function from plan and reports to state."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.cluster_settings import ClusterSettings
from bridge.domain.model import Model
from bridge.domain.names import WANTED_STATES, FunctionName, ModelState
from bridge.domain.node import HeldModel, HeldState, Node
from bridge.models.states import settled
from bridge.store.documents import Stored, Version

D, L, F = HeldState.DEPLOYED, HeldState.LOADING, HeldState.FAILED
PLAN = 7


def model(state: ModelState, *planned: str, everywhere: bool = False) -> Stored[Model]:
    value = Model(
        name="m",
        model_state=state,
        planning_worker_nodes=planned,
        planning_worker_node_count=len(planned),
        current_worker_node_count=0,
        deploy_to_all_nodes=True if everywhere else None,
        bridge_plan=PLAN,
    )
    return Stored("m", value, Version(1, 3))


def nodes(**reports: HeldState | tuple[HeldState, int] | None) -> dict[str, Node]:
    found = {}
    for name, report in reports.items():
        state, seen = report if isinstance(report, tuple) else (report, PLAN)
        held = () if state is None else (HeldModel(model_id="m", state=state, seen_plan=seen),)
        found[name] = Node(name=name, roles=("ml",), models=held)
    return found


S = ModelState
CASES = {
    "all loaded": (model(S.DEPLOYING, "a", "b"), nodes(a=D, b=D), S.DEPLOYED, 2),
    "one loading": (model(S.DEPLOYING, "a", "b"), nodes(a=D, b=L), S.DEPLOYING, 1),
    "one silent": (model(S.DEPLOYING, "a", "b"), nodes(a=D, b=None), S.DEPLOYING, 1),
    "one failed": (model(S.DEPLOYING, "a", "b"), nodes(a=D, b=F), S.PARTIALLY_DEPLOYED, 1),
    "all failed": (model(S.DEPLOYING, "a", "b"), nodes(a=F, b=F), S.DEPLOY_FAILED, 0),
    "old failure": (model(S.DEPLOYING, "a"), nodes(a=(F, PLAN - 1)), S.DEPLOYING, 0),
    "old success": (model(S.DEPLOYING, "a"), nodes(a=(D, PLAN - 1)), S.DEPLOYING, 0),
    "one gone": (model(S.DEPLOYING, "a", "b"), nodes(a=D), S.PARTIALLY_DEPLOYED, 1),
    "the only one gone": (model(S.DEPLOYING, "b"), nodes(a=None), S.DEPLOY_FAILED, 0),
    "gone, everywhere": (model(S.DEPLOYED, "a", "b", everywhere=True), nodes(a=D), S.DEPLOYED, 1),
    "came, everywhere": (model(S.DEPLOYED, "a", everywhere=True), nodes(a=D, b=L), S.PARTIALLY_DEPLOYED, 1),
    "gone, planned": (model(S.DEPLOYED, "a", "b"), nodes(a=D), S.PARTIALLY_DEPLOYED, 1),
    "all reloading": (model(S.DEPLOYED, "a"), nodes(a=L), S.DEPLOYING, 0),
    "lost one": (model(S.DEPLOYED, "a"), nodes(a=F), S.DEPLOY_FAILED, 0),
    "healed": (model(S.DEPLOY_FAILED, "a"), nodes(a=(D, 1)), S.DEPLOYED, 1),
    "second node loads": (model(S.DEPLOYED, "a", "b"), nodes(a=D, b=L), S.PARTIALLY_DEPLOYED, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_state_and_count(case: str) -> None:
    stored, live, state, count = CASES[case]
    value = settled(stored, live, now=99) or stored.value
    assert (value.model_state, value.current_worker_node_count) == (state, count)


def test_a_write_in_the_middle_of_a_deployment_starts_nothing_anew() -> None:
    # Reports count for the plan, not for the document's version: two nodes that end at different times both count.
    first = model(S.DEPLOYING, "a", "b")
    halfway = settled(first, nodes(a=D, b=L), now=1)
    assert halfway is not None
    assert (halfway.model_state, halfway.current_worker_node_count) == (S.DEPLOYING, 1)
    written = Stored("m", halfway, Version(1, 4))
    assert settled(written, nodes(a=D, b=L), now=2) is None
    done = settled(written, nodes(a=D, b=D), now=3)
    assert done is not None
    assert (done.model_state, done.current_worker_node_count) == (S.DEPLOYED, 2)


def test_a_document_of_the_reference_has_no_plan_number() -> None:
    written = replace(model(S.DEPLOYING, "a"), value=replace(model(S.DEPLOYING, "a").value, bridge_plan=None))
    done = settled(written, nodes(a=(D, 0)), now=1)
    assert done is not None
    assert (done.model_state, done.bridge_plan) == (S.DEPLOYED, None)


def test_the_end_of_a_deployment_is_dated_once() -> None:
    first = settled(model(S.DEPLOYING, "a"), nodes(a=D), now=99)
    assert first is not None
    assert (first.last_deployed_time, first.auto_redeploy_retry_times) == (99, 0)
    failed = settled(model(S.DEPLOYING, "a"), nodes(a=F), now=98)
    assert failed is not None
    assert (failed.last_deployed_time, failed.auto_redeploy_retry_times) == (98, None)
    assert settled(Stored("m", first, Version(1, 8)), nodes(a=D), now=100) is None


def test_planned_nodes_follow_the_cluster_only_when_all_are_meant() -> None:
    everywhere = settled(model(S.DEPLOYED, "a", "b", everywhere=True), nodes(a=D, c=None), now=1)
    assert everywhere is not None
    assert everywhere.planning_worker_nodes == ("a", "c")
    chosen = settled(model(S.DEPLOYED, "a"), nodes(a=D, c=None), now=1)
    assert chosen is not None
    assert chosen.planning_worker_nodes == ("a",)


OFF = ClusterSettings(model_auto_redeploy_enable=False)


def test_without_redeploying_a_node_that_comes_back_stays_empty() -> None:
    lost = settled(model(S.DEPLOYED, "a"), nodes(a=None), now=1, settings=OFF)
    assert lost is not None
    assert lost.model_state is S.DEPLOY_FAILED
    joined = settled(model(S.DEPLOYED, "a", everywhere=True), nodes(a=D, b=None), now=1, settings=OFF)
    assert joined is not None
    assert (joined.model_state, joined.planning_worker_node_count) == (S.PARTIALLY_DEPLOYED, 2)
    # What a client has asked for is waited for all the same.
    assert settled(model(S.DEPLOYING, "a"), nodes(a=None), now=1, settings=OFF) is None


def test_with_the_sync_up_job_stopped_plans_stay_as_they_are() -> None:
    stopped = ClusterSettings(sync_up_job_interval_in_seconds=0)
    value = settled(model(S.DEPLOYED, "a", everywhere=True), nodes(a=D, b=D), now=1, settings=stopped)
    assert value is not None
    assert (value.planning_worker_nodes, value.current_worker_node_count) == (("a",), 1)


def test_excluded_nodes_leave_the_plan_for_all() -> None:
    without = ClusterSettings(exclude_nodes__name="x, b")
    value = settled(model(S.DEPLOYED, "a", "b", everywhere=True), nodes(a=D, b=D), now=1, settings=without)
    assert value is not None
    assert (value.planning_worker_nodes, value.model_state) == (("a",), S.DEPLOYED)


def test_retries_are_counted_until_enough_nodes_hold_the_model() -> None:
    failed = {"a": Node(name="a", roles=("ml",), models=(HeldModel(model_id="m", state=F, failures=4),))}
    value = settled(model(S.DEPLOY_FAILED, "a"), failed, now=1)
    assert value is not None
    assert value.auto_redeploy_retry_times == 3
    healed = settled(Stored("m", value, Version(1, 9)), nodes(a=D), now=1)
    assert healed is not None
    assert healed.auto_redeploy_retry_times == 0


def test_a_remote_model_is_deployed_where_nodes_live() -> None:
    remote = replace(model(S.DEPLOYED, "a", "b").value, algorithm=FunctionName.REMOTE)
    value = settled(Stored("m", remote, Version(1, 1)), nodes(a=None), now=1)
    assert value is not None
    assert (value.model_state, value.current_worker_node_count) == (S.PARTIALLY_DEPLOYED, 1)
    proxies = {"p": Node(name="p", roles=("proxy",))}
    everywhere = replace(remote, deploy_to_all_nodes=True)
    moved = settled(Stored("m", everywhere, Version(1, 1)), proxies, now=1)
    assert moved is not None
    assert (moved.model_state, moved.planning_worker_nodes) == (S.DEPLOYED, ("p",))


STATES = st.sampled_from(list(ModelState))
REPORTS = st.one_of(st.none(), st.tuples(st.sampled_from(list(HeldState)), st.integers(0, 10)))


@given(
    STATES,
    st.sets(st.sampled_from("abcd")),
    st.booleans(),
    st.dictionaries(st.sampled_from("abcd"), REPORTS, max_size=4),
)
def test_settling_is_stable_and_counts_what_is_held(
    state: ModelState, planned: set[str], everywhere: bool, reports: dict[str, tuple[HeldState, int] | None]
) -> None:
    stored = model(state, *sorted(planned), everywhere=everywhere)
    live = nodes(**reports)
    value = settled(stored, live, now=5)
    if state not in WANTED_STATES:
        assert value is None
        return
    after = value or stored.value
    assert after.model_state in WANTED_STATES
    assert (after.current_worker_node_count or 0) <= (after.planning_worker_node_count or 0)
    assert after.planning_worker_node_count == len(after.planning_worker_nodes or ())
    again = Stored("m", after, replace(stored.version))
    if after.model_state is not ModelState.DEPLOYING or state is ModelState.DEPLOYING:
        assert settled(again, live, now=6) in (None, replace(after, last_deployed_time=6))
