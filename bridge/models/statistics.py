"""What this node has done: counters for the statistics of ML Commons, and the latest times for its profile."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bridge import metrics
from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.names import FunctionName
from bridge.errors import BridgeError

PREDICT, DEPLOY, REGISTER, UNDEPLOY = "predict", "deploy", "register", "undeploy"
REQUESTS, FAILURES = "ml_action_request_count", "ml_action_failure_count"
QUANTILES = (0.5, 0.9, 0.99)
_MOST = 10_000
_LONGEST = 100_000
"""Durations kept of one model, whatever the setting says: they are sorted whenever somebody asks."""

Actions = dict[str, dict[str, int]]
"""`{action: {counter: number}}`."""


class Window:
    """The last durations in milliseconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque()

    def add(self, milliseconds: float, most: int) -> None:
        """Keep it, and at most `most` in all."""
        self._values.append(milliseconds)
        while len(self._values) > most:
            self._values.popleft()

    def __len__(self) -> int:
        return len(self._values)

    def summary(self) -> dict[str, float] | None:
        """count, max, min, average, p50, p90 and p99 as ML Commons prints them; None without any."""
        if not self._values:
            return None
        ordered = sorted(self._values)
        count = len(ordered)
        told: dict[str, float] = {"count": count, "max": ordered[-1], "min": ordered[0]}
        told["average"] = sum(ordered) / count
        return {**told, **{f"p{round(100 * part)}": quantile(ordered, part) for part in QUANTILES}}


def quantile(ordered: list[float], part: float) -> float:
    """Between the two nearest of ordered values, in proportion."""
    at = part * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass
class _Model:
    algorithm: FunctionName | None = None
    actions: Actions = field(default_factory=dict)
    requests: Window = field(default_factory=Window)
    inferences: Window = field(default_factory=Window)


class Statistics:
    """Counts from the start of the process; `monitoring_request_count` durations for each model."""

    def __init__(
        self, settings: CurrentSettings | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._settings = settings or FixedSettings()
        self._clock = clock
        self._models: OrderedDict[str, _Model] = OrderedDict()
        self._algorithms: dict[str, Actions] = {}
        self.executing = 0
        self.requests = 0
        self.failures = 0
        self.breaks = 0

    @contextmanager
    def doing(self, action: str, algorithm: FunctionName | None, model_id: str | None = None) -> Iterator[None]:
        """An action that runs on this node; one that raises is a failure."""
        counted = self._counters(action, algorithm, model_id)
        self.executing += 1
        self.requests += 1
        for counters in counted:
            counters[REQUESTS] = counters.get(REQUESTS, 0) + 1
        try:
            yield
        except Exception:
            self.failures += 1
            for counters in counted:
                counters[FAILURES] = counters.get(FAILURES, 0) + 1
            raise
        finally:
            self.executing -= 1

    @contextmanager
    def inferring(self, model_id: str) -> Iterator[None]:
        """A predict that runs on this node, timed when it succeeds."""
        began = self._clock()
        with self.doing(PREDICT, self._model(model_id).algorithm, model_id):
            yield
        self._model(model_id).inferences.add((self._clock() - began) * 1000, self._most())

    @contextmanager
    def requested(self, model_id: str) -> Iterator[None]:
        """A predict that a client asked of this node, wherever it runs; timed however it ends."""
        began = self._clock()
        try:
            yield
        finally:
            # What is no model would make a series for every word that a client tries.
            if model_id in self._models:
                seconds = self._clock() - began
                metrics.PREDICT_SECONDS.labels(model_id).observe(seconds)
                self._model(model_id).requests.add(seconds * 1000, self._most())

    def known(self, model_id: str, algorithm: FunctionName) -> None:
        """This is a model: from now on its requests are timed. Before, a request may name anything."""
        self._model(model_id).algorithm = algorithm

    def failed(self, model_id: str, error: BridgeError) -> None:
        """A predict that a client asked of this node ended so."""
        if model_id in self._models:
            metrics.PREDICT_FAILURES.labels(model_id, error.kind).inc()

    def broke(self) -> None:
        """A limit of the machine (a circuit breaker of ML Commons) refused a call."""
        self.breaks += 1

    def forget(self, model_id: str) -> None:
        """Drop what is known of a model."""
        self._models.pop(model_id, None)

    def models(self) -> dict[str, FunctionName | None]:
        """Those of which anything is known, and what they compute."""
        return {model_id: model.algorithm for model_id, model in self._models.items()}

    def seconds(self, model_id: str) -> dict[float, float]:
        """Quantiles of the latest requests' durations in seconds."""
        model = self._models.get(model_id)
        told = None if model is None else model.requests.summary()
        return {} if told is None else {part: told[f"p{round(100 * part)}"] / 1000 for part in QUANTILES}

    def times(self, model_id: str) -> dict[str, Any]:
        """`model_inference_stats` and `predict_request_stats` of a model, without those that are empty."""
        model = self._models.get(model_id)
        if model is None:
            return {}
        told = {
            "model_inference_stats": model.inferences.summary(),
            "predict_request_stats": model.requests.summary(),
        }
        return {name: summary for name, summary in told.items() if summary is not None}

    def report(self) -> dict[str, Any]:
        """All counters, for the statistics of the whole cluster."""
        return {
            "executing": self.executing,
            "requests": self.requests,
            "failures": self.failures,
            "breaks": self.breaks,
            "algorithms": self._algorithms,
            "models": {model_id: model.actions for model_id, model in self._models.items() if model.actions},
        }

    def _counters(self, action: str, algorithm: FunctionName | None, model_id: str | None) -> list[dict[str, int]]:
        counted = []
        if algorithm is not None:
            counted.append(self._algorithms.setdefault(algorithm.value.lower(), {}).setdefault(action, {}))
        if model_id is not None:
            model = self._model(model_id)
            model.algorithm = algorithm or model.algorithm
            counted.append(model.actions.setdefault(action, {}))
        return counted

    def _model(self, model_id: str) -> _Model:
        model = self._models.setdefault(model_id, _Model())
        self._models.move_to_end(model_id)
        while len(self._models) > _MOST:
            self._models.popitem(last=False)
        return model

    def _most(self) -> int:
        return min(_LONGEST, self._settings.current.monitoring_request_count)
