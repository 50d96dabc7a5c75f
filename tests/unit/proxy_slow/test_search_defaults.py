"""Which indices count for a default pipeline, and which answers are remembered."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.proxy.slow.search_defaults import SearchDefaults

PIPELINE, CLOSED = "index.search.default_pipeline", "index.verified_before_close"


class Told:
    """Answers what it was told last, and counts."""

    def __init__(self, status: int, body: Any) -> None:
        self.answer = status, body
        self.asked = 0

    async def get(self, method: str, path: str, params: Any, headers: Any) -> tuple[int, Any]:
        self.asked += 1
        return self.answer


def defaults_of(told: Told) -> SearchDefaults:
    return SearchDefaults(told, stale_seconds=5, clock=lambda: 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({PIPELINE: "q", CLOSED: "true"}, "p"),
        ({PIPELINE: "q", CLOSED: "false"}, None),
        ({PIPELINE: "q"}, None),
        ({CLOSED: "true"}, "p"),
    ],
)
async def test_closed_indices_do_not_count(second: dict[str, str], expected: str | None) -> None:
    told = Told(200, {"a": {"settings": {PIPELINE: "p"}}, "b": {"settings": second}})
    assert await defaults_of(told).of("a,b", {"ignore_unavailable": "true"}, {}) == expected


async def test_an_index_that_is_not_there_may_be_made_by_the_next_write() -> None:
    told = Told(404, {"error": {}, "status": 404})
    defaults = defaults_of(told)
    assert await defaults.of("a", {}, {}) is None
    told.answer = 200, {"a": {"settings": {PIPELINE: "p"}}}
    for _ in range(2):
        assert await defaults.of("a", {}, {}) == "p"
    assert told.asked == 2
