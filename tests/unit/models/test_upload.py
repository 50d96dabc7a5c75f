"""Registering by chunks: any order, several clients, broken contents, clients that go away."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, zipped
from model_bridge import ML, ModelBridge, model_bridge

from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.names import ModelState
from bridge.models import upload
from bridge.store.stores import Stores

CONTENT = zipped({"model.onnx": bytes(range(200)), "tokenizer.json": b"{}"})
PIECES = [CONTENT[start : start + 100] for start in range(0, len(CONTENT), 100)]


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[ModelBridge]:
    async with model_bridge(Stores.in_memory(instant=False), tmp_path, inference=FakeInference()) as running:
        yield running


def meta(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": "chunked",
        "description": "in pieces",
        "model_format": "ONNX",
        "model_content_hash_value": hashlib.sha256(CONTENT).hexdigest(),
        "total_chunks": len(PIECES),
        "model_config": {"model_type": "bert", "embedding_dimension": 3, "framework_type": "sentence_transformers"},
        "rate_limiter": {"limit": 3, "unit": "MINUTES"},
        "is_enabled": True,
        "deploy_setting": {"is_auto_deploy_enabled": False},
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


async def begin(bridge: ModelBridge, **changes: Any) -> str:
    answer = await bridge.call("POST", "/models/_register_meta", meta(**changes))
    assert (answer.status, answer.body.get("status")) == (200, "CREATED"), answer.body
    return str(answer.body["model_id"])


async def add(bridge: ModelBridge, model: str, number: int | str, content: bytes) -> tuple[int, Any]:
    url = f"{bridge.url}{ML}/models/{model}/upload_chunk/{number}"
    headers = {"Content-Type": "application/json"}
    async with bridge.session.post(url, data=io.BytesIO(content), headers=headers) as answer:
        return answer.status, await answer.json()


async def model(bridge: ModelBridge, model_id: str) -> dict[str, Any]:
    return dict((await bridge.call("GET", f"/models/{model_id}")).body)


async def test_chunks_in_any_order_make_a_model_that_keeps_its_fields(bridge: ModelBridge) -> None:
    model_id = await begin(bridge)
    begun = await model(bridge, model_id)
    order = list(range(len(PIECES)))
    random.shuffle(order)
    for number in order[:-1]:
        assert await add(bridge, model_id, number, PIECES[number]) == (200, {"status": "Uploaded"})
        assert (await model(bridge, model_id))["model_state"] == "REGISTERING"
    refused = await bridge.call("POST", f"/models/{model_id}/_deploy")
    assert (refused.status, refused.body["error"]["reason"]) == (
        400,
        f"Model content is not complete: chunks [{order[-1]}] of {len(PIECES)} are missing",
    )
    assert await add(bridge, model_id, order[-1], PIECES[order[-1]]) == (200, {"status": "Uploaded"})
    made = await model(bridge, model_id)
    assert made["model_state"] == "REGISTERED"
    assert made["model_content_size_in_bytes"] == len(CONTENT)
    kept = ("description", "rate_limiter", "deploy_setting", "is_enabled", "model_config", "created_time")
    assert {name: made[name] for name in kept} == {name: begun[name] for name in kept}
    assert (await bridge.deploy(model_id))["state"] == "COMPLETED"


async def test_other_bytes_are_refused_with_both_hashes_and_can_be_put_right(bridge: ModelBridge) -> None:
    model_id = await begin(bridge)
    wrong = b"x" * len(PIECES[0])
    for number, piece in enumerate(PIECES[:-1]):
        await add(bridge, model_id, number, piece if number else wrong)
    status, told = await add(bridge, model_id, len(PIECES) - 1, PIECES[-1])
    expected, found = hashlib.sha256(CONTENT), hashlib.sha256(wrong + CONTENT[len(wrong) :])
    assert (status, told["error"]["reason"]) == (
        400,
        f"model content changed: expected SHA-256 {expected.hexdigest()}, found {found.hexdigest()}",
    )
    refused = await bridge.call("POST", f"/models/{model_id}/_deploy")
    assert refused.status == 400
    assert refused.body["error"]["reason"].startswith("model content changed")
    assert await add(bridge, model_id, 0, PIECES[0]) == (200, {"status": "Uploaded"})
    assert (await model(bridge, model_id))["model_state"] == "REGISTERED"
    # Complete: the same bytes again are fine, others are not.
    assert (await add(bridge, model_id, 1, PIECES[1]))[0] == 200
    status, told = await add(bridge, model_id, 1, b"other")
    assert (status, "cannot change" in told["error"]["reason"]) == (400, True)


async def test_a_content_that_is_no_model_is_told_at_once(bridge: ModelBridge) -> None:
    content = zipped({"readme.txt": b"x"})
    sha256 = hashlib.sha256(content).hexdigest()
    model_id = await begin(bridge, total_chunks=1, model_content_hash_value=sha256)
    status, told = await add(bridge, model_id, 0, content)
    assert (status, told["error"]["reason"]) == (400, "Can't find model file")


async def test_several_clients_through_several_bridges(tmp_path: Path) -> None:
    stores = Stores.in_memory(instant=False)
    async with (
        model_bridge(stores, tmp_path / "a", inference=FakeInference()) as first,
        model_bridge(stores, tmp_path / "b", inference=None, roles=("proxy",)) as second,
    ):
        model_id = await begin(first)
        calls = [
            add(through, model_id, number, piece) for number, piece in enumerate(PIECES) for through in (first, second)
        ]
        random.shuffle(calls)
        answers = await asyncio.gather(*calls)
        assert {status for status, _ in answers} == {200}
        assert (await model(second, model_id))["model_state"] == "REGISTERED"
        assert len(await stores.chunks.search({"match_all": {}})) == len(PIECES)


@pytest.mark.parametrize(
    ("number", "content", "reason"),
    [
        (99, b"x", "Chunk number exceeds total chunks"),
        (-1, b"x", "Chunk number must not be negative"),
        (0, b"", "Chunk size either 0 or null"),
        (0, b"x" * 10_000_001, "Chunk size exceeds 10MB"),
        ("x", b"x", 'For input string: "x"'),
    ],
)
async def test_chunks_that_cannot_be(bridge: ModelBridge, number: int | str, content: bytes, reason: str) -> None:
    status, told = await add(bridge, await begin(bridge), number, content)
    assert (status, told["error"]["reason"]) == (400, reason)
    assert await bridge.stores.chunks.search({"match_all": {}}) == []


async def test_a_chunk_of_nobody(bridge: ModelBridge) -> None:
    status, told = await add(bridge, "nope", 0, b"x")
    assert (status, told["error"]["reason"]) == (404, "Failed to find model")


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"name": None}, 400, "model name is null"),
        ({"model_format": None}, 400, "model format is null"),
        ({"model_format": "onnx"}, 400, "Wrong model format"),
        ({"model_content_hash_value": None}, 400, "model content hash value is null"),
        ({"model_config": None}, 400, "model config is null"),
        ({"total_chunks": None}, 400, "total chunks field is null"),
        ({"total_chunks": "2"}, 400, "Integer value passed as String"),
        ({"total_chunks": 2.5}, 400, "2.5 cannot be converted to Integer without data loss"),
        ({"total_chunks": 0}, 400, "total_chunks must be between 1 and 1074 on this bridge, not 0"),
        ({"model_group_id": "nope"}, 404, "Fail to find model group"),
        ({"rate_limiter": {"limit": "x"}}, 400, "Limit field must be a positive number."),
        ({"interface": {"input": {"type": 5}}}, 400, "interface.input is not a JSON schema"),
    ],
)
async def test_refused_metas_leave_nothing(
    bridge: ModelBridge, changes: dict[str, Any], status: int, reason: str
) -> None:
    answer = await bridge.call("POST", "/models/_register_meta", meta(**changes))
    assert (answer.status, answer.body["error"]["reason"][: len(reason)]) == (status, reason)
    for documents in (bridge.stores.models, bridge.stores.groups):
        await documents.refresh()
        assert list(await documents.ids({"match_all": {}})) == []


async def test_the_setting_switches_it_off(tmp_path: Path) -> None:
    off = FixedSettings(ClusterSettings(allow_registering_model_via_local_file=False))
    async with model_bridge(Stores.in_memory(), tmp_path, inference=FakeInference(), settings=off) as bridge:
        answer = await bridge.call("POST", "/models/_register_meta", meta())
        assert (answer.status, "allow_registering_model_via_local_file" in str(answer.body)) == (400, True)


async def test_what_a_client_gave_up_is_swept_and_nothing_else(bridge: ModelBridge) -> None:
    fresh, old, done = [await begin(bridge, name=name) for name in ("fresh", "old", "done")]
    for number, piece in enumerate(PIECES):
        await add(bridge, done, number, piece)
    for each in (fresh, old):
        await add(bridge, each, 0, PIECES[0])
    stored = await bridge.stores.models.get(old)
    assert stored is not None
    await bridge.stores.models.replace(stored, replace(stored.value, last_updated_time=1), refresh=True)
    orphan = await bridge.stores.chunks.get(f"{done}_0")
    assert orphan is not None
    await bridge.stores.chunks.put("gone_3", replace(orphan.value, model_id="gone", chunk_number=3), refresh=True)
    assert sorted(await bridge.runtime.removal.sweep()) == sorted([old, "gone"])
    await bridge.stores.models.refresh()
    assert set(await bridge.stores.models.ids({"match_all": {}})) == {fresh, done}
    await bridge.stores.chunks.refresh()
    chunks = await bridge.stores.chunks.ids({"match_all": {}})
    assert {each.rpartition("_")[0] for each in chunks} == {fresh, done}
    await bridge.stores.groups.refresh()
    groups = await bridge.stores.groups.search({"match_all": {}})
    assert {group.value.name for group in groups} == {"fresh", "done"}


async def test_a_chunk_that_comes_during_the_delete_goes_too(
    bridge: ModelBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = await begin(bridge)
    stored = await bridge.stores.models.get(model_id)
    assert stored is not None
    await bridge.runtime.removal.delete(model_id)
    with pytest.raises(upload.NotFound):
        await bridge.runtime.uploads.add(stored, 0, PIECES[0])
    assert await bridge.stores.chunks.get(f"{model_id}_0") is None


def test_missing_numbers_are_told_in_ranges() -> None:
    assert upload._ranges([0, 2, 3, 4, 9]) == "[0, 2-4, 9]"
    assert upload._ranges(range(0, 100, 2)).endswith("38, ...]")


async def test_a_registered_model_reads_back_by_chunk(bridge: ModelBridge) -> None:
    model_id = await begin(bridge)
    await add(bridge, model_id, 1, PIECES[1])
    plain = (await bridge.call("GET", f"/models/{model_id}_1")).body
    assert "model_content" not in plain
    assert (plain["chunk_number"], plain["is_hidden"]) == (1, False)
    whole = (await bridge.call("GET", f"/models/{model_id}_1?return_content=true")).body
    assert list(whole)[:4] == ["model_group_id", "algorithm", "model_version", "model_content"]
    for method, path in (("DELETE", f"/models/{model_id}_1"), ("PUT", f"/models/{model_id}_1")):
        assert (await bridge.call(method, path, {"description": "x"})).status == 404
    stored = await bridge.stores.models.get(model_id)
    assert stored is not None
    assert stored.value.model_state is ModelState.REGISTERING
