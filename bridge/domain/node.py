"""ML nodes as they describe themselves in the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HeldState(StrEnum):
    """What a node says of one model it should hold."""

    LOADING = "LOADING"
    DEPLOYED = "DEPLOYED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class HeldModel:
    """One model on one node.

    `seen_seq_no` is the sequence number of the model document that the node acted on: a FAILED report older than a new
    plan does not count against that plan. `memory` is in bytes, `device` as the engine names it (`cpu`, `cuda:0`).
    """

    model_id: str
    state: HeldState
    seen_seq_no: int = -1
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
    `roles` are `ml` and `proxy`. `beats` counts heartbeats.
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
