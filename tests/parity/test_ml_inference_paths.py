"""Asks the real ML Commons again for a part of the JSONPath table that tests/unit/processors/test_jsonpath.py holds the
bridge to, so that the table is known to be its."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_service import FakeService
from reference_paths import reference_paths
from server_fixtures import Cluster

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(120)]

TABLE = Path(__file__).resolve().parents[1] / "unit" / "processors" / "jsonpath_outcomes.json"
EVERY = 12
"""One path of so many is asked for; Jayway's results change with use for those that keep a state."""
CHANGING = ("append", "$..[*].n", "length($.parts)", "sum($.parts[*].n)")


def test_the_table_is_what_the_reference_says(reference: Cluster, fake_service: FakeService) -> None:
    recorded = json.loads(TABLE.read_text())
    rows = [row for row in recorded["paths"] if not any(word in row["path"] for word in CHANGING)][::EVERY]
    wrong = []
    with reference_paths(reference, fake_service, recorded["documents"]) as ask:
        for row in rows:
            now = {"path": row["path"], "response": ask.response(row["path"]), "output": ask.output(row["path"])}
            if now != row:
                wrong.append((now, row))
    assert not wrong
