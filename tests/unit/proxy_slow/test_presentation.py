"""filter_path as the cluster applies it."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.proxy.slow.presentation import filtered, shaped, unshaped

ANSWER = {
    "took": 1,
    "errors": True,
    "items": [{"index": {"_id": "1", "status": 201}}, {"index": {"_id": "2", "error": {"type": "t"}}}],
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["took"], {"took": 1}),
        (["errors", "items.*.error"], {"errors": True, "items": [{"index": {"error": {"type": "t"}}}]}),
        (["items.*.error.type"], {"items": [{"index": {"error": {"type": "t"}}}]}),
        (["**.type"], {"items": [{"index": {"error": {"type": "t"}}}]}),
        (["t*"], {"took": 1}),
        (["nothing"], {}),
        (["-items"], {"took": 1, "errors": True}),
        (["items", "-items.index.status"], {"items": [{"index": {"_id": "1"}}, ANSWER["items"][1]]}),  # type: ignore[index]
        (["*"], ANSWER),
    ],
)
def test_paths_choose(paths: list[str], expected: Any) -> None:
    assert filtered(ANSWER, paths) == expected


def test_the_cluster_is_asked_for_everything_and_the_client_gets_his_shape() -> None:
    assert unshaped("/_bulk?filter_path=took&refresh=true") == "/_bulk?refresh=true"
    assert unshaped("/_bulk?a=%2F") == "/_bulk?a=%2F"
    assert shaped(ANSWER, "/_bulk?filter_path=took") == b'{"took":1}'
    assert shaped({"a": [1]}, "/_bulk?pretty") == b'{\n  "a" : [\n    1\n  ]\n}\n'
