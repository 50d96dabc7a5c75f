"""What `/_bridge/metrics` gives out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import metrics
from bridge.metrics import ModelFigures, render


def test_series_of_models_that_are_not_deployed_are_left_out() -> None:
    for model_id in ("here", "gone"):
        metrics.PREDICT_SECONDS.labels(model_id).observe(0.1)
        metrics.PREDICT_FAILURES.labels(model_id, "x").inc()
    text = render(ModelFigures(frozenset({"here"}), {"here": {0.5: 0.25, 0.99: 0.5}})).decode()
    assert 'bridge_model_predict_seconds_count{model_id="here"}' in text
    assert "gone" not in text
    assert 'bridge_model_predict_quantile_seconds{model_id="here",quantile="0.99"} 0.5' in text
    assert "bridge_connections" in text
    assert 'model_id="gone"' in render().decode()


@pytest.mark.parametrize("shown", ["here", "other"])
def test_so_too_where_several_processes_add_up(tmp_path: Path, shown: str) -> None:
    code = (
        "from bridge import metrics\n"
        "metrics.PREDICT_SECONDS.labels('here').observe(0.1)\n"
        f"print(metrics.render(metrics.ModelFigures(frozenset({{'{shown}'}}))).decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ('model_id="here"' in ran.stdout) is (shown == "here")
