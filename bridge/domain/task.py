"""Tasks as clients see them, and the claims by which workers share them out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.domain.names import FunctionName, TaskState, TaskType


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task's document in the order in which ML Commons prints it."""

    model_id: str | None = None
    task_type: TaskType
    function_name: FunctionName | None = None
    state: TaskState
    input_type: str | None = None
    progress: float | None = None
    output_index: str | None = None
    worker_node: tuple[str, ...] | None = None
    create_time: int | None = None
    last_update_time: int | None = None
    error: str | None = None
    is_async: bool = True
    remote_job: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    tenant_id: str | None = None


class ClaimState(StrEnum):
    """Whether a worker holds the task."""

    OPEN = "OPEN"
    HELD = "HELD"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The queue entry of one unfinished task; it lives in a bridge index under the task's id and is deleted at the end.

    `place` is a random number in [0, 2**31): workers look from a random place on, which spreads them over the
    queue at constant cost. `holder` is a node id. `attempts` counts holders so far. `input` is what the handler needs
    and clients do not see (a register request, for example). A lease is judged by the document's version on the
    observer's own monotonic clock, so no time stands here.
    """

    task_type: TaskType
    state: ClaimState = ClaimState.OPEN
    place: int
    holder: str | None = None
    attempts: int = 0
    beats: int = 0
    input: dict[str, Any] | None = None
    last_error: str | None = None
