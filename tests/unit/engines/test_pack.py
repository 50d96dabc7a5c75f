"""`bridge pack`: folders read, models exported, zips that any engine runs."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from click.testing import CliRunner

from bridge.cli.pack import pack
from bridge.domain.names import PoolingMode
from bridge.engines import embedding, huggingface
from bridge.engines.devices import CPU
from bridge.engines.session import ModelSpec


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    """A BERT of two layers with random weights, as sentence-transformers would save it."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("hf") / "tiny-bert"
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tiny_models.WORDS) + 4,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.8,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        BertModel(config).save_pretrained(folder)
    tiny_models.write_tokenizer(folder, max_length=100, pad_to=100)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 300}')
    set_pooling(folder, "mean_tokens")
    return folder


def set_pooling(folder: Path, *modes: str) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    keys = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    config = {f"pooling_mode_{key}": key in modes for key in keys}
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))


def packed(folder: Path, output: Path, *options: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(pack, [str(folder), "-o", str(output), *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def load(archive: Path, body: dict, target: Path) -> embedding.EmbeddingModel:
    with zipfile.ZipFile(archive) as file:
        file.extractall(target)
    spec = ModelSpec.from_dict({**body["model_config"], "model_format": body["model_format"]})
    return embedding.load(target, device=CPU, spec=spec)


@pytest.mark.parametrize("model_format", ["onnx", "torch_script"])
def test_a_packed_folder_can_be_registered_and_run(tiny_folder, tmp_path, model_format):
    archive = tmp_path / "model.zip"
    body = packed(tiny_folder, archive, "--format", model_format, "--url", "https://host/model.zip", "--name", "tiny")
    assert body["name"] == "tiny" and body["url"] == "https://host/model.zip"
    assert body["function_name"] == "TEXT_EMBEDDING" and body["model_format"] == model_format.upper()
    assert list(body).index("function_name") < list(body).index("model_config")
    assert body["model_content_hash_value"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    config = body["model_config"]
    assert (config["embedding_dimension"], config["pooling_mode"], config["normalize_result"]) == (16, "mean", True)
    with zipfile.ZipFile(archive) as file:
        assert sorted(file.namelist()) == [f"model.{'onnx' if model_format == 'onnx' else 'pt'}", "tokenizer.json"]
    model = load(archive, body, tmp_path / "out")
    vectors = model.run(model.encode(["the cat", "cat " * 90, ""]))
    for row in vectors:
        vector = next(output.array for output in row if output.name == "sentence_embedding")
        assert vector.shape == (16,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


def test_the_same_folder_gives_the_same_bytes(tiny_folder, tmp_path):
    first = packed(tiny_folder, tmp_path / "a.zip")
    second = packed(tiny_folder, tmp_path / "b.zip")
    assert first["model_content_hash_value"] == second["model_content_hash_value"]


@pytest.mark.parametrize(
    "mode", ["cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
)
def test_every_pooling_is_traced_into_torchscript(tiny_folder, tmp_path, mode):
    set_pooling(tiny_folder, mode)
    try:
        body = packed(tiny_folder, tmp_path / "model.zip", "--format", "torch_script")
    finally:
        set_pooling(tiny_folder, "mean_tokens")
    assert PoolingMode(body["model_config"]["pooling_mode"].upper()) in PoolingMode


def test_texts_are_cut_where_tokenizer_json_says_or_where_asked(tiny_folder, tmp_path):
    body = packed(tiny_folder, tmp_path / "a.zip")
    assert len(load(tmp_path / "a.zip", body, tmp_path / "a").encode(["cat " * 400])[0]) == 100
    body = packed(tiny_folder, tmp_path / "b.zip", "--max-length", "300")
    assert len(load(tmp_path / "b.zip", body, tmp_path / "b").encode(["cat " * 400])[0]) == 300


def test_prompts_become_prefixes(tiny_folder):
    file = tiny_folder / "config_sentence_transformers.json"
    file.write_text('{"prompts": {"query": "query: ", "document": "passage: "}}')
    try:
        found = huggingface.read(tiny_folder)
    finally:
        file.unlink()
    assert (found.query_prefix, found.passage_prefix) == ("query: ", "passage: ")


def test_folders_that_cannot_be_packed_say_why(tiny_folder, tmp_path):
    result = CliRunner().invoke(pack, [str(tmp_path)])
    assert result.exit_code == 1 and "config.json" in result.output
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    result = CliRunner().invoke(pack, [str(tmp_path)])
    assert result.exit_code == 1 and "never opened" in result.output
    set_pooling(tiny_folder, "cls_token", "mean_tokens")
    try:
        with pytest.raises(ValueError, match="joins 2 poolings"):
            huggingface.read(tiny_folder)
    finally:
        set_pooling(tiny_folder, "mean_tokens")


def test_an_unknown_module_is_refused(tiny_folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "modules.json").write_text('[{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.Dense"}]')
    with pytest.raises(ValueError, match="Dense"):
        huggingface.read(tmp_path)
