"""Times to live, counted in durations that no clock's setting can change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.domain.model import Model
from bridge.domain.names import ModelState
from bridge.domain.node import Node
from bridge.models.uses import Uses, time_to_live
from bridge.store.documents import Stored, Version


def stored(state: ModelState = ModelState.DEPLOYED, plan: int = 1, ttl: Any = 1) -> Stored[Model]:
    value = Model(name="m", model_state=state, bridge_plan=plan, deploy_setting={"model_ttl_minutes": ttl})
    return Stored("m", value, Version(1, 1))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, None), (-1, None), (0, None), (1, 60.0), ("5", 300.0), ("x", None), ({}, None)]
)
def test_what_the_setting_says(said: Any, seconds: float | None) -> None:
    assert time_to_live(stored(ttl=said).value) == seconds


def test_no_use_since_it_was_deployed() -> None:
    clock = Clock()
    uses = Uses(clock)
    uses.watch([stored()])
    clock.now += 59
    assert not uses.expired(stored(), {})
    clock.now += 1
    assert uses.expired(stored(), {"n": Node(name="n")})
    assert not uses.expired(stored(ttl=-1), {})
    assert not uses.expired(stored(ModelState.DEPLOYING), {})


def test_a_use_here_or_elsewhere_prolongs() -> None:
    clock = Clock()
    uses = Uses(clock)
    uses.watch([stored()])
    clock.now += 50
    uses.note("m")
    assert uses.idle() == {"m": 0}
    clock.now += 59.5
    assert uses.idle() == {"m": 59}
    assert not uses.expired(stored(), {})
    clock.now += 10
    assert not uses.expired(stored(), {"n": Node(name="n", idle={"m": 12})})
    assert uses.expired(stored(), {"n": Node(name="n", idle={"m": 61, "other": 0})})


def test_a_new_deployment_and_a_new_process_begin_anew() -> None:
    clock = Clock()
    uses = Uses(clock)
    uses.watch([stored()])
    clock.now += 100
    uses.watch([stored(plan=2)])
    assert not uses.expired(stored(plan=2), {})
    fresh = Uses(clock)
    assert not fresh.expired(stored(), {})
    clock.now += 60
    uses.watch([stored(ModelState.DEPLOYING, plan=2)])
    uses.watch([stored(plan=2)])
    assert uses.expired(stored(plan=2), {})


def test_only_what_is_watched_is_remembered() -> None:
    uses = Uses(Clock())
    uses.note("m")
    assert uses.idle() == {}
    uses.watch([stored(), replace(stored(ttl=-1), id="for ever")])
    uses.note("m")
    uses.note("for ever")
    assert uses.idle() == {"m": 0}
    uses.watch([])
    assert uses.idle() == {}
