"""Writes that the cluster makes by itself."""

from __future__ import annotations

from typing import Any

import pytest
from slow_lane import SlowLane, embedding

NEURAL = {"query": {"neural": {"v": {"query_text": "abc", "model_id": "m", "k": 2}}}}
KNN = {"query": {"knn": {"v": {"vector": [3.0, 0.5], "k": 2}}}}


async def test_their_queries_are_rewritten(slow: SlowLane) -> None:
    for path, body, expected in (
        ("/i/_delete_by_query", NEURAL, KNN),
        ("/i/_update_by_query", NEURAL, KNN),
        ("/_reindex", {"source": {"index": "i", **NEURAL}}, {"source": {"index": "i", **KNN}}),
    ):
        slow.cluster.answers["POST", path] = (200, {})
        assert (await slow.client.post(path, json=body)).status == 200
        assert slow.cluster.last("POST", path).json() == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [("/i/_update_by_query?pipeline=p", {}), ("/_reindex", {"source": {"index": "i"}, "dest": {"pipeline": "p"}})],
)
async def test_a_pipeline_of_ours_can_not_run_there(slow: SlowLane, path: str, body: Any) -> None:
    await slow.define("p", embedding())
    answer = await slow.client.post(path, json=body)
    assert answer.status == 400
    assert "pipeline [p] holds processors" in (await answer.json())["error"]["reason"]
    path = path.split("?", maxsplit=1)[0]
    assert slow.cluster.count("POST", path) == 0
    slow.cluster.answers["POST", path] = (200, {})
    assert (await slow.client.post(path, data=b'{ "dest" : {"index":"k"}}')).status == 200
    assert slow.cluster.last("POST", path).body == b'{ "dest" : {"index":"k"}}'
