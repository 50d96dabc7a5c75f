"""Models by name from a repository, and models that come as a Hugging Face folder."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fake_inference import FakeInference, register_body, zipped
from file_server import FileServer
from hypothesis import given
from hypothesis import strategies as st
from model_bridge import ModelBridge, model_bridge

from bridge.domain.names import ModelFormat
from bridge.errors import InvalidRequest
from bridge.models import model_folder, repository_folder
from bridge.models.download import Downloader, DownloadLimits
from bridge.models.pretrained import LISTING, located
from bridge.store.stores import Stores

NAME = "huggingface/sentence-transformers/tiny"
ASKED = {"name": NAME, "version": "1.0.1", "model_format": "TORCH_SCRIPT"}
CONTENT = zipped({"tiny.pt": b"graph", "tokenizer.json": b"{}"})
CONFIG = {
    "name": NAME,
    "version": "1.0.1",
    "description": "A model <b>with</b> a description that no request could have",
    "model_task_type": "TEXT_EMBEDDING",
    "model_format": "TORCH_SCRIPT",
    "model_content_hash_value": hashlib.sha256(CONTENT).hexdigest(),
    "model_config": {
        "model_type": "bert",
        "embedding_dimension": 3,
        "framework_type": "sentence_transformers",
        "pooling_mode": "mean",
    },
}


def entries() -> dict[str, bytes]:
    at = located(NAME, "1.0.1", ModelFormat.TORCH_SCRIPT)
    listed = [{"name": NAME, "version": ["1.0.0", "1.0.1"], "format": ["onnx", "torch_script"]}]
    return {
        LISTING: json.dumps(listed).encode(),
        at.config: json.dumps(CONFIG).encode(),
        at.archive: CONTENT,
    }


def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "repository"


def test_the_layout_is_the_references_own() -> None:
    at = located(NAME, "1.0.1", ModelFormat.TORCH_SCRIPT)
    assert at.config == f"{NAME}/1.0.1/torch_script/config.json"
    assert at.archive == f"{NAME}/1.0.1/torch_script/sentence-transformers_tiny-1.0.1-torch_script.zip"


@given(st.text(max_size=30), st.text(max_size=10))
def test_no_name_leads_out_of_a_repository(name: str, version: str) -> None:
    try:
        at = located(name, version, ModelFormat.ONNX)
    except InvalidRequest:
        return
    assert not {"", ".", ".."} & set(at.config.split("/"))


@pytest.mark.parametrize("kind", ["folder", "url"])
async def test_a_model_by_name(tmp_path: Path, model_server: FileServer, kind: str) -> None:
    base = str(folder(tmp_path, entries()))
    if kind == "url":
        for name, content in entries().items():
            model_server.serve_bytes(f"models/{name}", content)
        base = model_server.url("models/")
    async with model_bridge(
        Stores.in_memory(), tmp_path / "data", inference=FakeInference(), repository=base
    ) as bridge:
        task = await bridge.register(ASKED, params={"deploy": "true"})
        assert task["state"] == "COMPLETED", task
        model = (await bridge.call("GET", f"/models/{task['model_id']}")).body
        assert (model["algorithm"], model["model_format"]) == ("TEXT_EMBEDDING", "TORCH_SCRIPT")
        assert model["model_config"]["pooling_mode"] == "MEAN"
        assert "description" not in model


async def test_a_repository_that_was_filled_by_hand(tmp_path: Path) -> None:
    archive, base = tmp_path / "packed.zip", tmp_path / "repository"
    archive.write_bytes(CONTENT)
    for version in ("1.0.0", "1.0.1"):
        repository_folder.add(base, archive, {**CONFIG, "version": version, "url": "https://YOUR-SERVER/x.zip"})
    listed = json.loads((base / LISTING).read_bytes())
    assert listed == [{"name": NAME, "version": ["1.0.0", "1.0.1"], "format": ["torch_script"]}]
    async with model_bridge(
        Stores.in_memory(), tmp_path / "data", inference=FakeInference(), repository=str(base)
    ) as bridge:
        assert (await bridge.register(ASKED))["state"] == "COMPLETED"


@pytest.mark.parametrize(
    ("changes", "files", "error"),
    [
        ({}, None, "This bridge has no repository of pretrained models"),
        ({"version": "9.9.9"}, entries(), "This model is not in the pre-trained model list"),
        ({"name": "../../etc"}, entries(), "This model is not in the pre-trained model list"),
        ({"version": None}, entries(), "A pretrained model is named by name, version and model_format"),
        ({}, {LISTING: b"[]"}, "This model is not in the pre-trained model list"),
        ({}, {LISTING: b"{nonsense"}, f"{LISTING} of the model repository is not JSON"),
        ({}, {LISTING: entries()[LISTING]}, f"the model repository has no {NAME}/1.0.1/torch_script/config.json"),
        ({}, {}, f"the model repository has no {LISTING}"),
        ({"model_group_id": "nope"}, entries(), "Failed to find model group"),
    ],
)
async def test_what_cannot_be_had_says_why_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], files: dict[str, bytes] | None, error: str
) -> None:
    base = "" if files is None else str(folder(tmp_path, {"readme": b"", **files}))
    async with model_bridge(
        Stores.in_memory(), tmp_path / "data", inference=FakeInference(), repository=base
    ) as bridge:
        body = {name: value for name, value in {**ASKED, **changes}.items() if value is not None}
        task = await bridge.register(body)
        assert (task["state"], task["error"][: len(error)]) == ("FAILED", error)
        for documents in (bridge.stores.models, bridge.stores.groups, bridge.stores.chunks):
            assert list(await documents.ids({"match_all": {}})) == []


HUGGING_FACE = {
    "config.json": json.dumps({"model_type": "bert", "hidden_size": 3}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "modules.json": json.dumps(
        [
            {"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]
    ).encode(),
    "1_Pooling/config.json": json.dumps({"word_embedding_dimension": 3}).encode(),
    "pytorch_model.bin": b"pickled",
    "README.md": b"text",
}
SHARDED = {
    "config.json": json.dumps({"model_type": "roberta", "hidden_size": 5}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
    "model-00001-of-00002.safetensors": b"first",
    "model-00002-of-00002.safetensors": b"second",
}


def serve(server: FileServer, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        server.serve_bytes(f"hf/{name}", content)
    return server.url("hf/")


async def registered(bridge: ModelBridge, url: str, **changes: Any) -> dict[str, Any]:
    body = {"name": "hf", "model_format": "safetensors", "url": url, **changes}
    return await bridge.register(body)


@pytest.mark.parametrize(
    ("files", "config"),
    [
        (
            HUGGING_FACE,
            {"model_type": "bert", "embedding_dimension": 3, "framework_type": "SENTENCE_TRANSFORMERS"},
        ),
        (
            SHARDED,
            {"model_type": "roberta", "embedding_dimension": 5, "framework_type": "HUGGINGFACE_TRANSFORMERS"},
        ),
    ],
)
async def test_a_folder_by_url(
    tmp_path: Path, model_server: FileServer, files: dict[str, bytes], config: dict[str, Any]
) -> None:
    url = serve(model_server, files)
    local = folder(tmp_path, files)
    model_folder.pack(local, tmp_path / "local.zip")
    async with model_bridge(Stores.in_memory(), tmp_path / "data", inference=FakeInference()) as bridge:
        task = await registered(bridge, url)
        assert task["state"] == "COMPLETED", task
        model = (await bridge.call("GET", f"/models/{task['model_id']}")).body
        assert model["model_config"] == config
        # The zip is the same wherever it is packed, so the hash can be known beforehand.
        sha256 = hashlib.sha256((tmp_path / "local.zip").read_bytes()).hexdigest()
        assert model["model_content_hash_value"] == sha256
        assert (await registered(bridge, url, model_content_hash_value=sha256))["state"] == "COMPLETED"
        changed = await registered(bridge, url, model_content_hash_value="0" * 64)
        assert (changed["state"], changed["error"]) == ("FAILED", "model content changed")
    with zipfile.ZipFile(tmp_path / "local.zip") as packed:
        assert packed.testzip() is None
        assert "pytorch_model.bin" not in packed.namelist()
    assert "hf/pytorch_model.bin" not in model_server.hits


@pytest.mark.parametrize(
    ("missing", "changes", "error"),
    [
        ("tokenizer.json", {}, "hf/tokenizer.json"),
        ("model.safetensors", {}, "hf/model.safetensors"),
        (None, {"modules.json": b"{"}, "modules.json is not JSON"),
        (None, {"modules.json": b'[{"path": "../x"}]'}, "modules.json names a folder that cannot be"),
        (
            None,
            {"model.safetensors.index.json": b'{"weight_map": {"a": "../x.safetensors"}}'},
            "model.safetensors.index.json names files that cannot be weights",
        ),
        (None, {"config.json": b"{}", "1_Pooling/config.json": b"{}"}, "config.json does not say how long"),
    ],
)
async def test_folders_that_are_no_models(
    tmp_path: Path, model_server: FileServer, missing: str | None, changes: dict[str, bytes], error: str
) -> None:
    files = {name: content for name, content in {**HUGGING_FACE, **changes}.items() if name != missing}
    url = serve(model_server, files)
    async with model_bridge(Stores.in_memory(), tmp_path / "data", inference=FakeInference()) as bridge:
        task = await registered(bridge, url)
        assert task["state"] == "FAILED"
        assert error in task["error"]
        assert list(await bridge.stores.models.ids({"match_all": {}})) == []


async def test_a_folder_larger_than_allowed_is_given_up(tmp_path: Path, model_server: FileServer) -> None:
    url = serve(model_server, {**HUGGING_FACE, "model.safetensors": b"x" * 5000})
    limited = Downloader(DownloadLimits(max_bytes=4000))
    async with model_bridge(
        Stores.in_memory(), tmp_path / "data", inference=FakeInference(), downloader=limited
    ) as bridge:
        task = await registered(bridge, url)
        assert (task["state"], "larger than" in task["error"]) == ("FAILED", True)


async def test_a_zip_of_a_folder(tmp_path: Path, model_server: FileServer) -> None:
    content = zipped(HUGGING_FACE)
    url = model_server.serve_bytes("hf.zip", content)
    async with model_bridge(Stores.in_memory(), tmp_path / "data", inference=FakeInference()) as bridge:
        task = await bridge.register(
            register_body(
                url,
                content,
                model_format="SAFETENSORS",
                model_config={"pooling_mode": "cls", "normalize_result": False},
            )
        )
        assert task["state"] == "COMPLETED", task
        model = (await bridge.call("GET", f"/models/{task['model_id']}")).body
        assert (model["model_config"]["pooling_mode"], model["model_config"]["embedding_dimension"]) == ("CLS", 3)
        # The folder itself might say otherwise, so that this counts.
        assert model["model_config"]["normalize_result"] is False
