"""Published models through the engine, against transformers and onnxruntime run directly on one text at a time."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from bridge.domain.names import PoolingMode
from bridge.engines import embedding
from bridge.engines.devices import CPU
from bridge.engines.pooling import normalized, pool
from bridge.engines.session import Encoded, ModelSpec

TEXTS = [
    "",
    "x",
    "a small example sentence",
    "Zürich, naïve café, 東京の天気, Привет мир, 🚲 — ﷽",
    "\x00\t\n control \u200b characters \ufffd",
    "1234567890 " * 9,
    "the quick brown fox jumps over the lazy dog " * 12,
    "one two three four five six seven eight nine ten " * 80,
    "search " * 5000,
]


def cosine(first, second) -> float:
    first, second = np.asarray(first, np.float64).reshape(-1), np.asarray(second, np.float64).reshape(-1)
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def vectors(model: embedding.EmbeddingModel, encoded) -> list[np.ndarray]:
    return [row[0].array.reshape(-1) for row in model.run(encoded)]


def cut_at(folder: Path, target: Path, tokens: int) -> Path:
    """The same model with another truncation in tokenizer.json."""
    target.mkdir()
    for file in folder.iterdir():
        if file.suffix == ".onnx":
            (target / file.name).symlink_to(file)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.save(str(target / "tokenizer.json"))
    return target


@pytest.fixture(scope="module")
def transformer(minilm_hf_folder):
    """all-MiniLM-L6-v2 in transformers: ids of one text -> token vectors [1, tokens, 384]."""
    import torch
    from transformers import AutoModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModel.from_pretrained(str(minilm_hf_folder)).eval()
    torch.set_num_threads(1)  # more of them spin against everything else on a small machine

    def run(ids):
        tensor = torch.tensor([list(ids)])
        with torch.no_grad():
            return model(input_ids=tensor, attention_mask=torch.ones_like(tensor)).last_hidden_state.numpy()

    return run


@pytest.mark.parametrize("mode", [mode for mode in PoolingMode if mode is not PoolingMode.NONE])
def test_minilm_is_what_transformers_gives_for_every_pooling(minilm_onnx_folder, transformer, tmp_path, mode):
    folder = cut_at(minilm_onnx_folder, tmp_path / "512", 512)
    model = embedding.load(folder, device=CPU, spec=ModelSpec(pooling_mode=mode))
    encoded = model.encode(TEXTS)
    assert max(len(text) for text in encoded) == 512
    for text, vector in zip(encoded, vectors(model, encoded), strict=True):
        hidden = transformer(text.ids)
        wanted = pool(mode, hidden, np.ones((1, len(text)), np.int64))[0]
        assert cosine(vector, wanted) >= 0.9999
    model.close()


def test_minilm_is_what_transformers_gives_for_every_length(minilm_onnx_folder, transformer):
    model = embedding.load(minilm_onnx_folder, device=CPU, spec=ModelSpec(normalize_result=True))
    source = np.random.default_rng(7)
    texts = [
        Encoded([101, *source.integers(1000, 30000, length).tolist(), 102], [0] * (length + 2))
        for length in (*range(24), 40, 63, 64, 65, 126, 127, 128, 200, 255, 256, 300, 400, 509, 510)
    ]
    texts.append(Encoded([101], [0]))
    for text, vector in zip(texts, vectors(model, texts), strict=True):
        wanted = normalized(pool(PoolingMode.MEAN, transformer(text.ids), np.ones((1, len(text)), np.int64)))[0]
        assert cosine(vector, wanted) >= 0.9999
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    model.close()


def direct(folder: Path, encoded, mode: PoolingMode) -> list[np.ndarray]:
    """onnxruntime alone, one text at a time, no padding."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = str(next(folder.glob("*.onnx")))
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found = []
    for text in encoded:
        ids = np.array([list(text.ids)], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, {entry.name: given[entry.name] for entry in session.get_inputs()})[0]
        found.append(pool(mode, hidden, np.ones_like(ids))[0])
    return found


def test_bge_small_with_cls_pooling(bge_small_onnx_folder):
    spec = ModelSpec(pooling_mode=PoolingMode.CLS, normalize_result=True)
    model = embedding.load(bge_small_onnx_folder, device=CPU, spec=spec)
    encoded = model.encode(TEXTS)
    wanted = direct(bge_small_onnx_folder, encoded, PoolingMode.CLS)
    assert all(cosine(*pair) >= 0.9999 for pair in zip(vectors(model, encoded), wanted, strict=True))
    assert max(len(text) for text in encoded) == 512
    query, near, far = vectors(model, model.encode(["how do I bake bread", "a recipe for a loaf", "tax law of Norway"]))
    assert cosine(query, near) > cosine(query, far)
    model.close()


def test_e5_small_with_prefixes(e5_small_onnx_folder):
    spec = ModelSpec(normalize_result=True, query_prefix="query: ", passage_prefix="passage: ")
    model = embedding.load(e5_small_onnx_folder, device=CPU, spec=spec)
    for kind, prefix in (("query", "query: "), ("passage", "passage: "), (None, "")):
        encoded = model.encode(TEXTS[:7], kind)
        assert encoded == model.encode([prefix + text for text in TEXTS[:7]])
        wanted = direct(e5_small_onnx_folder, encoded, PoolingMode.MEAN)
        assert all(cosine(*pair) >= 0.9999 for pair in zip(vectors(model, encoded), wanted, strict=True))
    model.close()


def test_int8_minilm_stays_near_the_full_one(minilm_onnx_folder, minilm_int8_onnx_folder):
    full = embedding.load(minilm_onnx_folder, device=CPU, spec=ModelSpec(normalize_result=True))
    small = embedding.load(minilm_int8_onnx_folder, device=CPU, spec=ModelSpec(normalize_result=True))
    texts = TEXTS[2:3] + TEXTS[6:8]
    for text in texts:
        pair = vectors(full, full.encode([text]))[0], vectors(small, small.encode([text]))[0]
        assert 0.95 < cosine(*pair) < 0.99999
    full.close()
    small.close()


def test_a_lone_run_gives_the_same_vector(minilm_onnx_folder, tmp_path):
    shutil.copytree(minilm_onnx_folder, tmp_path / "m")
    model = embedding.load(tmp_path / "m", device=CPU, spec=ModelSpec())
    text = model.encode(["the museum guide measured the annual report"])
    before = model.run(text)[0][0].array
    model.session.prepare_lone()  # type: ignore[attr-defined]
    assert cosine(before, model.run(text, lone=True)[0][0].array) >= 0.999999
    model.close()
