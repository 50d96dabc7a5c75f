"""When models were last used, for those that are undeployed after a time without use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge.domain.model import Model
from bridge.domain.names import ModelState
from bridge.domain.node import Node
from bridge.store.documents import Stored

_IN_USE = (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED)


@dataclass(frozen=True)
class _Watched:
    """A deployment as this process first saw it, on its own clock."""

    plan: int
    since: float


class Uses:
    """Each process counts the seconds since it last used a model and tells them with its heartbeat.

    Durations by monotonic clocks are all that is compared: clocks that disagree neither end nor prolong a life. A
    process that starts anew has seen nothing, so it lets a whole time to live pass before it judges.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._last: dict[str, float] = {}

    def note(self, model_id: str) -> None:
        """The model is being used now. Costs nothing worth mentioning."""
        if model_id in self._watched:
            self._last[model_id] = self._clock()

    def watch(self, found: Sequence[Stored[Model]]) -> None:
        """Tell all models that somebody wants deployed; those with a time to live are watched, others are forgotten."""
        now = self._clock()
        watched: dict[str, _Watched] = {}
        for stored in found:
            if time_to_live(stored.value) is None:
                continue
            seen = self._watched.get(stored.id)
            if seen is not None and seen.plan == stored.value.plan:
                watched[stored.id] = seen
            elif stored.value.model_state in _IN_USE:
                watched[stored.id] = _Watched(stored.value.plan, now)
        self._watched = watched
        self._last = {each: last for each, last in self._last.items() if each in watched}

    def idle(self) -> dict[str, int]:
        """Whole seconds since this process last used each watched model that it has used at all."""
        now = self._clock()
        return {each: int(now - last) for each, last in self._last.items()}

    def expired(self, stored: Stored[Model], nodes: Mapping[str, Node]) -> bool:
        """Whether the model's time to live has passed without use, here and at all live `nodes`."""
        limit, seen = time_to_live(stored.value), self._watched.get(stored.id)
        if limit is None or seen is None or stored.value.model_state not in _IN_USE:
            return False
        last = max(seen.since, self._last.get(stored.id, seen.since))
        if self._clock() - last < limit:
            return False
        return all(node.idle.get(stored.id, limit) >= limit for node in nodes.values())


def time_to_live(model: Model) -> float | None:
    """Seconds without use after which the model is undeployed; None: never (`deploy_setting.model_ttl_minutes`)."""
    value = (model.deploy_setting or {}).get("model_ttl_minutes")
    try:
        minutes = int(value) if value is not None else -1
    except (TypeError, ValueError):
        return None
    return minutes * 60.0 if minutes > 0 else None
