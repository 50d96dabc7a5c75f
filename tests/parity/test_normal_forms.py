"""What a request processor reads: the server's own normal form of a search, to the letter (contract/processors.md
section 12). A processor whose input is missing quotes the whole of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scenario import Side, Step, play

pytestmark = [pytest.mark.parity, pytest.mark.timeout(120)]

BODIES = [json.loads(line) for line in Path(__file__).with_name("search_bodies.jsonl").read_text().splitlines()]
MAPPINGS = {
    "f": {"type": "text"},
    "k": {"type": "keyword"},
    "n": {"type": "integer"},
    "d": {"type": "date"},
    "loc": {"type": "geo_point"},
    "p": {"type": "nested", "properties": {"x": {"type": "keyword"}}},
}
MISSING = {"ml_inference": {"model_id": "none", "input_map": [{"a": "zz_none"}], "output_map": [{"zz": "$.a"}]}}


def quoted(name: str, body: dict[str, Any]) -> Step:
    return Step(name, "POST", "/<unique>/_search?search_pipeline=<unique>", body)


async def test_every_query_and_section(sides: tuple[Side, Side]) -> None:
    await play(
        [
            Step("index", "PUT", "/<unique>", {"mappings": {"properties": MAPPINGS}}),
            Step("pipeline", "PUT", "/_search/pipeline/<unique>", {"request_processors": [MISSING]}),
            *(quoted(each["name"], each["body"]) for each in BODIES),
            Step("no pipeline any more", "DELETE", "/_search/pipeline/<unique>"),
            Step("no index any more", "DELETE", "/<unique>"),
        ],
        *sides,
    )
