"""Every metric of the bridge, in one place; names and units are the Prometheus conventions.

The bridge runs in several processes. When PROMETHEUS_MULTIPROC_DIR is set before the first import, each process writes
to files there and `render` adds them up; without it, one process shows its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_WORK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

REQUESTS = Counter("bridge_requests_total", "Requests answered, by lane and status class.", ["lane", "status"])
ADDED_LATENCY = Histogram(
    "bridge_added_seconds", "Time the front door adds to a request it passes on.", ["lane"], buckets=_FAST
)
CONNECTIONS = Gauge("bridge_connections", "Open client connections.", multiprocess_mode="livesum")
UPSTREAM_ERRORS = Counter("bridge_upstream_errors_total", "Failed exchanges with the cluster, by cause.", ["cause"])

QUEUED = Gauge("bridge_model_queued_texts", "Texts waiting for inference.", ["model_id"], multiprocess_mode="livesum")
BATCH_TEXTS = Histogram("bridge_model_batch_texts", "Texts in one inference batch.", ["model_id"], buckets=_SIZES)
TOKENIZE_SECONDS = Histogram("bridge_model_tokenize_seconds", "Tokenising one request.", ["model_id"], buckets=_WORK)
INFER_SECONDS = Histogram("bridge_model_infer_seconds", "Running one batch.", ["model_id"], buckets=_WORK)
PREDICT_SECONDS = Histogram(
    "bridge_model_predict_seconds", "A whole predict call, waiting included.", ["model_id"], buckets=_WORK
)
PREDICT_FAILURES = Counter("bridge_model_predict_failures_total", "Failed predict calls.", ["model_id", "type"])

TASKS = Counter("bridge_tasks_total", "Tasks that reached a state on this node.", ["task_type", "state"])
CLAIMS = Counter("bridge_claims_total", "Claims tried by this node, by outcome (won, conflict).", ["outcome"])
LEASES_LOST = Counter("bridge_leases_lost_total", "Tasks this node held and lost to another.")
OPEN_TASKS = Gauge("bridge_open_tasks", "Unfinished tasks in the cluster.", ["state"], multiprocess_mode="mostrecent")


@dataclass(frozen=True)
class ModelFigures:
    """`shown` are the models whose series are given out, all of them for None: one that nobody has deployed any more
    leaves none behind. `quantiles` are seconds of the latest predict calls, by model and part."""

    shown: frozenset[str] | None = None
    quantiles: Mapping[str, Mapping[float, float]] = field(default_factory=dict)


class _Chosen(Collector):
    """What another collector has, without the series of models that are not shown; and the quantiles."""

    def __init__(self, inner: Collector, models: ModelFigures) -> None:
        self._inner = inner
        self._models = models

    def collect(self) -> Iterator[Metric]:
        shown = self._models.shown
        for metric in self._inner.collect():
            if shown is not None:
                metric.samples = [one for one in metric.samples if one.labels.get("model_id", None) in (None, *shown)]
            yield metric
        text = "Quantiles of the latest predict calls, waiting included."
        family = GaugeMetricFamily("bridge_model_predict_quantile_seconds", text, labels=["model_id", "quantile"])
        for model_id, quantiles in self._models.quantiles.items():
            for part, seconds in quantiles.items():
                family.add_metric([model_id, str(part)], seconds)
        yield family


def render(models: ModelFigures | None = None) -> bytes:
    """All processes' figures in the Prometheus text format."""
    inner: Collector = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        inner = CollectorRegistry()
        multiprocess.MultiProcessCollector(inner)  # type: ignore[no-untyped-call]
    return generate_latest(_Chosen(inner, models or ModelFigures()))


def forget_process(pid: int) -> None:
    """Drop the live gauges of a process that has ended."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
