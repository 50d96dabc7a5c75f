"""ML nodes as they describe themselves in the cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class HeldState(StrEnum):
    """What a node says of one model it should hold."""

    LOADING = "LOADING"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class HeldModel:
    """One model on one node.

    `seen_plan` is the number of the plan (Model.bridge_plan) that the node acted on: a report on an older plan says
    nothing about a new one. `failures` counts failed loads in a row. `memory` is in bytes, `device` as the engine names
    it (`cpu`, `cuda:0`).
    """

    model_id: str
    state: HeldState
    seen_plan: int = -1
    failures: int = 0
    error: str | None = None
    device: str | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Device:
    """A place where models run; memory in bytes."""

    name: str
    kind: str
    memory_total: int | None = None
    memory_free: int | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A bridge process's document: rewritten at each heartbeat, so its version is its pulse.

    `address` is host:port of its door for other nodes' predict calls; `token` is the bearer token that this door wants.
    `roles` are `ml` and `proxy`. `beats` counts heartbeats. `idle` holds, for models with a time to live that this
    process has used, the seconds since it last did; durations, since no two machines' clocks need agree.
    """

    name: str
    address: str | None = None
    token: str | None = None
    roles: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    models: tuple[HeldModel, ...] = ()
    memory_free: int | None = None
    version: str | None = None
    started_time: int | None = None
    beats: int = 0
    idle: dict[str, int] = field(default_factory=dict)
