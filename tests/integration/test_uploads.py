"""Uploads by chunks on a real cluster: several clients, several bridges, a sweep."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, zipped
from model_bridge import ML, ModelBridge, model_bridge

from bridge.store.cluster import Cluster
from bridge.store.cluster_config import ClusterConfig
from bridge.store.indices import ensure_all
from bridge.store.stores import IndexNames, Stores

pytestmark = pytest.mark.integration
CONTENT = zipped({"model.onnx": random.Random(1).randbytes(3000), "tokenizer.json": b"{}"})
PIECES = [CONTENT[start : start + 200] for start in range(0, len(CONTENT), 200)]
Pair = tuple[ModelBridge, ModelBridge]


@pytest.fixture
async def bridges(
    cluster_url: str, index_prefix: str, tmp_path: Path
) -> AsyncIterator[tuple[ModelBridge, ModelBridge]]:
    """Two bridges on one cluster; the second runs no models."""
    async with AsyncExitStack() as stack:
        cluster, names = Cluster(ClusterConfig(urls=(cluster_url,))), IndexNames(index_prefix)
        await ensure_all(cluster, names)
        given: dict[str, Any] = {"cluster": cluster, "names": names, "lease": 12.0}
        stores = Stores.on(cluster, names)
        first = await stack.enter_async_context(
            model_bridge(stores, tmp_path / "a", inference=FakeInference(), **given)
        )
        second = await stack.enter_async_context(
            model_bridge(stores, tmp_path / "b", inference=None, roles=("proxy",), **given)
        )
        yield first, second


async def begin(bridge: ModelBridge, name: str) -> str:
    body = {
        "name": name,
        "model_format": "ONNX",
        "model_content_hash_value": hashlib.sha256(CONTENT).hexdigest(),
        "total_chunks": len(PIECES),
        "model_config": {"model_type": "bert", "embedding_dimension": 3, "framework_type": "sentence_transformers"},
    }
    answer = await bridge.call("POST", "/models/_register_meta", body)
    assert answer.status == 200, answer.body
    return str(answer.body["model_id"])


async def add(bridge: ModelBridge, model: str, number: int) -> int:
    url = f"{bridge.url}{ML}/models/{model}/upload_chunk/{number}"
    headers = {"Content-Type": "application/octet-stream"}
    async with bridge.session.post(url, data=io.BytesIO(PIECES[number]), headers=headers) as answer:
        return answer.status


async def test_clients_on_two_bridges_finish_one_model(bridges: Pair) -> None:
    model = await begin(bridges[0], "shared")
    calls = [(bridge, number) for number in range(len(PIECES)) for bridge in bridges]
    random.shuffle(calls)
    gate = asyncio.Semaphore(8)

    async def one(bridge: ModelBridge, number: int) -> int:
        async with gate:
            return await add(bridge, model, number)

    assert set(await asyncio.gather(*(one(*call) for call in calls))) == {200}
    for bridge in bridges:
        made = (await bridge.call("GET", f"/models/{model}")).body
        assert (made["model_state"], made["model_content_size_in_bytes"]) == ("REGISTERED", len(CONTENT))
    assert (await bridges[0].deploy(model))["state"] == "COMPLETED"


async def test_what_is_left_is_found_in_the_index_and_nothing_else_goes(
    bridges: Pair,
) -> None:
    bridge, other = bridges
    fresh, old = [await begin(bridge, name) for name in ("fresh", "old")]
    for model in (fresh, old):
        await add(bridge, model, 3)
    stored, chunk = await bridge.stores.models.get(old), await bridge.stores.chunks.get(f"{old}_3")
    assert stored is not None
    assert chunk is not None
    await bridge.stores.models.replace(stored, replace(stored.value, last_updated_time=1), refresh=True)
    await bridge.stores.chunks.put("gone_5", replace(chunk.value, model_id="gone", chunk_number=5))
    swept = await asyncio.gather(bridge.runtime.removal.sweep(), other.runtime.removal.sweep())
    assert {each for one in swept for each in one} == {old, "gone"}
    await bridge.stores.models.refresh()
    assert list(await bridge.stores.models.ids({"match_all": {}})) == [fresh]
    assert list(await bridge.stores.chunks.ids({"match_all": {}})) == [f"{fresh}_3"]
    groups = await bridge.stores.groups.search({"match_all": {}})
    assert [group.value.name for group in groups] == ["fresh"]
