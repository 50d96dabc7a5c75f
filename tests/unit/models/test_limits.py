"""Rates of models and users, the disk's limit, controllers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_pair import Pair

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.node import Node
from bridge.domain.tensor import TextDocsInput
from bridge.errors import (
    BridgeError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooManyRequests,
)
from bridge.models.access import Access
from bridge.models.controllers import Controllers, read_limits
from bridge.models.known import KnownModels
from bridge.models.limits import DiskLimit, RateLimits
from bridge.models.token_bucket import LONGEST_WAIT, TokenBucket, rate_of
from bridge.store.documents import Stored
from bridge.store.stores import Stores

INPUT = TextDocsInput(text_docs=("a",))
ALICE = Caller(name="alice")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Room:
    """Limits over in-memory documents with one deployed model, `m`."""

    def __init__(self, *, bridges: int = 1) -> None:
        self.clock = Clock()
        self.stores = Stores.in_memory()
        self.settings = FixedSettings()
        self.known = KnownModels(self.stores.models, clock=self.clock)
        self.controllers = Controllers(
            self.stores.controllers,
            self.stores.models,
            settings=self.settings,
            access=Access(self.stores.groups, self.settings),
            known=self.known,
            clock=self.clock,
        )
        self.nodes = {f"n{i}": Node(name="n", roles=("proxy", "ml")) for i in range(bridges)}
        self.nodes["worker"] = Node(name="w", roles=("ml",))
        self.limits = RateLimits(self.controllers, lambda: self.nodes, clock=self.clock)

    async def model(self, **fields: object) -> Stored[Model]:
        value = replace(Model(name="m", model_state=ModelState.DEPLOYED), **fields)  # type: ignore[arg-type]
        return await self.stores.models.put("m", value)

    async def passes(self, stored: Stored[Model], caller: Caller | None = None) -> bool:
        try:
            await self.limits.admit(stored, INPUT, caller)
        except TooManyRequests:
            return False
        return True


async def test_two_a_day_means_two_and_says_when_the_next_may_come() -> None:
    room = Room()
    stored = await room.model(rate_limiter={"limit": "2", "unit": "DAYS"})
    assert [await room.passes(stored) for _ in range(3)] == [True, True, False]
    with pytest.raises(TooManyRequests, match=r"Request is throttled at model level\.") as refused:
        await room.limits.admit(stored, INPUT, None)
    assert (refused.value.retry_after, refused.value.kind) == (43_200, "status_exception")
    room.clock.now += 43_200
    assert await room.passes(stored)


async def test_a_client_reads_when_to_come_again(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one, rate_limiter={"limit": "1", "unit": "HOURS"})
    await one.deploy(model_id)
    answers = [await one.call("POST", f"/models/{model_id}/_predict", {"text_docs": ["a"]}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert answers[1].body["error"]["reason"] == "Request is throttled at model level."
    assert 3590 <= int(answers[1].headers["Retry-After"]) <= 3600


async def test_each_bridge_has_its_share_and_never_less_than_one_call() -> None:
    room = Room(bridges=2)
    stored = await room.model(rate_limiter={"limit": "2", "unit": "MINUTES"})
    assert [await room.passes(stored) for _ in range(2)] == [True, False]
    room.clock.now += 59
    assert not await room.passes(stored)
    room.clock.now += 1
    assert await room.passes(stored)


async def test_a_changed_or_removed_limit_counts_at_once() -> None:
    room = Room()
    stored = await room.model(rate_limiter={"limit": "1", "unit": "DAYS"})
    assert [await room.passes(stored) for _ in range(2)] == [True, False]
    more = await room.model(rate_limiter={"limit": "2", "unit": "DAYS"})
    assert [await room.passes(more) for _ in range(3)] == [True, True, False]
    none = await room.model()
    assert [await room.passes(none) for _ in range(5)] == [True] * 5


async def test_bridges_that_come_and_go_bring_no_calls() -> None:
    room = Room()
    stored = await room.model(rate_limiter={"limit": "4", "unit": "DAYS"})
    assert [await room.passes(stored) for _ in range(4)] == [True] * 4
    room.nodes["n1"] = Node(name="n", roles=("proxy",))
    assert not await room.passes(stored)
    del room.nodes["n1"]
    assert not await room.passes(stored)


@pytest.mark.parametrize("limiter", [{}, {"limit": "1"}, {"unit": "DAYS"}, {"limit": "inf", "unit": "DAYS"}])
async def test_half_a_limiter_limits_nothing(limiter: dict[str, str]) -> None:
    room = Room()
    stored = await room.model(rate_limiter=limiter)
    assert [await room.passes(stored) for _ in range(5)] == [True] * 5


async def test_a_model_that_is_not_deployed_is_not_counted() -> None:
    room = Room()
    limiter = {"limit": "1", "unit": "DAYS"}
    stored = await room.model(rate_limiter=limiter, model_state=ModelState.UNDEPLOYED)
    assert [await room.passes(stored) for _ in range(3)] == [True] * 3
    remote = await room.model(rate_limiter=limiter, model_state=ModelState.REGISTERED, algorithm=FunctionName.REMOTE)
    assert [await room.passes(remote) for _ in range(2)] == [True, False]


async def test_a_controller_limits_its_users_only_and_at_once() -> None:
    room = Room()
    await room.model()
    assert await room.controllers.create("m", {"alice": {"limit": "1", "unit": "DAYS"}}, None)
    stored = await room.known.get("m")
    assert stored is not None
    assert stored.value.is_controller_enabled is True
    assert [await room.passes(stored, ALICE) for _ in range(2)] == [True, False]
    assert [await room.passes(stored, Caller(name="bob")) for _ in range(3)] == [True] * 3
    with pytest.raises(TooManyRequests, match="Request is throttled at user level"):
        await room.limits.admit(stored, INPUT, ALICE)
    await room.controllers.update("m", {"alice": {"limit": "3"}}, None)
    assert [await room.passes(stored, ALICE) for _ in range(4)] == [True, True, True, False]
    await room.controllers.delete("m", None)
    stored = await room.known.get("m")
    assert stored is not None
    assert stored.value.is_controller_enabled is False
    assert await room.passes(stored, ALICE)


async def test_limits_stay_known_while_the_cluster_is_away() -> None:
    room = Room()
    await room.model()
    await room.controllers.create("m", {"alice": {"limit": "2", "unit": "DAYS"}}, None)
    stored = await room.known.get("m")
    assert stored is not None
    assert await room.passes(stored, ALICE)

    async def gone(_: str) -> None:
        raise ClusterUnavailable("gone")

    room.stores.controllers.get = gone  # type: ignore[method-assign, assignment]
    room.clock.now += 10
    assert [await room.passes(stored, ALICE) for _ in range(2)] == [True, False]


async def test_refusals_of_controllers() -> None:
    room = Room()
    limits = {"u": {"limit": "1", "unit": "DAYS"}}
    with pytest.raises(NotFound, match="to create the corresponding"):
        await room.controllers.create("m", limits, None)
    await room.model(model_state=ModelState.DEPLOYING)
    with pytest.raises(Conflict, match="in DEPLOYING state is not allowed"):
        await room.controllers.create("m", limits, None)
    await room.model(algorithm=FunctionName.TEXT_SIMILARITY)
    with pytest.raises(Forbidden, match="the function category TEXT_SIMILARITY is not supported"):
        await room.controllers.create("m", limits, None)
    await room.model()
    with pytest.raises(Conflict, match=r"haven't been created .* Model ID: m"):
        await room.controllers.update("m", limits, None)
    for call in (room.controllers.get, room.controllers.delete):
        with pytest.raises(NotFound, match="Failed to find model controller"):
            await call("m", None)
    room.settings.current = ClusterSettings(controller_enabled=False)
    with pytest.raises(InvalidRequest, match="Controller is currently disabled") as refused:
        await room.controllers.create("m", limits, None)
    assert refused.value.kind == "illegal_state_exception"


async def test_a_controller_is_made_once_and_then_replaced() -> None:
    room = Room()
    await room.model()
    assert await room.controllers.create("m", {}, None) is True
    assert await room.controllers.create("m", {"a": {"limit": "1", "unit": "DAYS"}}, None) is False
    await room.controllers.update("m", {"b": {"limit": "2", "unit": "HOURS"}, "a": {"unit": "HOURS"}}, None)
    found = await room.controllers.get("m", None)
    assert found.user_rate_limiter == {"a": {"limit": "1", "unit": "HOURS"}, "b": {"limit": "2", "unit": "HOURS"}}


def test_bodies_of_controllers() -> None:
    assert read_limits({}) == {}
    assert read_limits({"user_rate_limiter": {"a": {}, "b": {"limit": 4, "unit": "MINUTES"}}}) == {
        "b": {"limit": "4", "unit": "MINUTES"}
    }
    for body in ({"user_rate_limiter": []}, {"user_rate_limiter": {"a": {"limit": "4", "unit": "minutes"}}}):
        with pytest.raises(BridgeError) as refused:
            read_limits(body)
        assert refused.value.status == 400


async def test_the_disk_is_asked_only_where_a_limit_is_set() -> None:
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 100

    settings, clock = FixedSettings(), Clock()
    limit = DiskLimit(Path("data"), settings, clock=clock, free=free)
    stored = await Room().model()
    await limit.admit(stored, INPUT, None)
    assert asked == []
    settings.current = ClusterSettings(disk_free_space_threshold=101)
    with pytest.raises(TooManyRequests, match="Disk Circuit Breaker is open") as refused:
        await limit.admit(stored, INPUT, None)
    assert (refused.value.kind, refused.value.details["durability"]) == ("circuit_breaking_exception", "TRANSIENT")
    settings.current = ClusterSettings(disk_free_space_threshold=100)
    await limit.admit(stored, INPUT, None)
    assert len(asked) == 1


@given(
    limit=st.integers(0, 50),
    unit=st.sampled_from(["SECONDS", "MINUTES"]),
    nodes=st.integers(1, 4),
    pauses=st.lists(st.floats(0, 30), max_size=60),
)
def test_a_bucket_lets_through_its_burst_and_its_rate_and_no_more(
    limit: int, unit: str, nodes: int, pauses: list[float]
) -> None:
    rate = rate_of({"limit": str(limit), "unit": unit}, nodes)
    assert rate is not None
    clock = Clock()
    bucket = TokenBucket(rate, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += bucket.take()
        if not bucket.take():
            wait = bucket.wait()
            assert 1 <= wait <= LONGEST_WAIT
        else:
            taken += 1
    assert taken <= rate.burst + rate.per_second * sum(pauses) + 1e-6


def test_the_wait_is_long_enough() -> None:
    clock = Clock()
    rate = rate_of({"limit": "7", "unit": "MINUTES"}, 1)
    assert rate is not None
    bucket = TokenBucket(rate, clock)
    while bucket.take():
        pass
    clock.now += bucket.wait()
    assert bucket.take()
