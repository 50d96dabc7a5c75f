"""Whole models: which inputs a graph gets, which output counts, and the shapes ML Commons answers."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
from onnx import TensorProto

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.engines import embedding
from bridge.engines.devices import CPU
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.pooling import pool
from bridge.engines.session import ModelSpec

TEXTS = ["the cat sat on the mat", "hello", "", "a red apple a blue apple a green apple", "nowhere ünïcode 東京 🚲"]


def vectors(folder, texts=TEXTS, **spec):
    model = embedding.load(folder, device=CPU, spec=ModelSpec(**spec))
    try:
        return [row[0].array for row in model.run(model.encode(texts))]
    finally:
        model.close()


def expected(folder, mode, texts=TEXTS):
    tokenizer = tiny_models.Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        hidden = tiny_models.hidden_of(ids)[None].astype(np.float32)
        found.append(pool(mode, hidden, np.ones((1, len(ids)), np.int64))[0])
    return found


@pytest.mark.parametrize("mode", [mode for mode in PoolingMode if mode is not PoolingMode.NONE])
def test_a_batch_gives_what_each_text_gives_alone(tmp_path, mode):
    folder = tiny_models.write_onnx(tmp_path)
    answers = vectors(folder, pooling_mode=mode)
    for answer, wanted in zip(answers, expected(folder, mode), strict=True):
        np.testing.assert_allclose(answer.reshape(-1), wanted, atol=1e-5)
    shape = (1, tiny_models.DIMENSION) if mode is PoolingMode.MAX else (tiny_models.DIMENSION,)
    assert {answer.shape for answer in answers} == {shape}


def test_none_answers_the_second_output_with_a_leading_axis(tmp_path):
    answers = vectors(tiny_models.write_onnx(tmp_path), pooling_mode=PoolingMode.NONE)
    assert {answer.shape for answer in answers} == {(1, tiny_models.DIMENSION)}
    ids = tiny_models.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(TEXTS[0]).ids
    np.testing.assert_allclose(answers[0][0], np.tanh(tiny_models.table()[ids].mean(0)), atol=1e-5)


@pytest.mark.parametrize(
    "graph",
    [
        {"hidden": "output_0", "second": "882"},
        {"inputs": ("input_ids", "attention_mask", "token_type_ids")},
        {"inputs": ("input1.input_ids", "input1.attention_mask")},
        {"dtype": TensorProto.INT32},
        {"second": None},
        {"second_first": True},
    ],
    ids=["odd names", "token types", "dotted names", "int32", "one output", "token vectors second"],
)
def test_common_graphs_give_the_same_vectors(tmp_path, graph):
    folder = tiny_models.write_onnx(tmp_path, **graph)
    for answer, wanted in zip(vectors(folder), expected(folder, PoolingMode.MEAN), strict=True):
        np.testing.assert_allclose(answer, wanted, atol=1e-5)


def test_a_ready_sentence_embedding_is_taken_as_it_is(tmp_path):
    folder = tiny_models.write_onnx(tmp_path, second="sentence_embedding", second_first=True)
    flat = tiny_models.write_onnx(tmp_path / "flat", second="vector", drop_hidden=True)
    for first, second in zip(vectors(folder), vectors(flat), strict=True):
        assert first.shape == (tiny_models.DIMENSION,)
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_normalizing_gives_unit_vectors_for_every_mode(tmp_path):
    folder = tiny_models.write_onnx(tmp_path)
    for mode in PoolingMode:
        for answer in vectors(folder, pooling_mode=mode, normalize_result=True):
            assert np.linalg.norm(answer) == pytest.approx(1, abs=1e-5)


def test_prefixes_are_put_before_texts_of_their_kind(tmp_path):
    spec = ModelSpec(query_prefix="hello ", passage_prefix="red ")
    model = embedding.load(tiny_models.write_onnx(tmp_path), device=CPU, spec=spec)
    assert model.encode(["cat"], "query") == model.encode(["hello cat"])
    assert model.encode(["cat"], "passage") == model.encode(["red cat"])
    assert model.encode(["cat"], None) != model.encode(["cat"], "query")


def test_the_tokenizers_own_truncation_counts_else_512_and_padding_never(tmp_path):
    long = "cat " * 2000
    folder = tiny_models.write_onnx(tmp_path, max_length=9)
    model = embedding.load(folder, device=CPU, spec=ModelSpec())
    assert len(model.encode([long])[0]) == 9
    tiny_models.write_tokenizer(folder, pad_to=128)
    model = embedding.load(folder, device=CPU, spec=ModelSpec())
    assert [len(text) for text in model.encode([long, "cat"])] == [512, 3]


def test_half_a_surrogate_pair_is_no_reason_to_fail(tmp_path):
    model = embedding.load(tiny_models.write_onnx(tmp_path), device=CPU, spec=ModelSpec())
    assert model.run(model.encode(["cat \ud83d"]))[0][0].array.shape == (tiny_models.DIMENSION,)


def test_dict_torchscript_answers_every_output_in_the_references_order(tmp_path):
    folder = tiny_models.write_torchscript(tmp_path, takes_dict=True)
    spec = ModelSpec(model_format=ModelFormat.TORCH_SCRIPT, pooling_mode=PoolingMode.CLS, normalize_result=True)
    model = embedding.load(folder, device=CPU, spec=spec)
    encoded = model.encode(TEXTS)
    for text, row in zip(encoded, model.run(encoded), strict=True):
        assert [output.name for output in row] == [
            "input_ids", "token_embeddings", "sentence_embedding", "attention_mask",
        ]  # fmt: skip
        ids, tokens, sentence, mask = (output.array for output in row)
        assert ids.tolist() == list(text.ids) and mask.tolist() == [1] * len(text)
        assert tokens.shape == (len(text), tiny_models.DIMENSION)
        np.testing.assert_allclose(sentence, tiny_models.table()[list(text.ids)].mean(0), atol=1e-5)
    assert model.with_bytes and model.dimension == tiny_models.DIMENSION


@pytest.mark.parametrize("mode", list(PoolingMode))
def test_plain_torchscript_is_pooled_with_a_leading_axis(tmp_path, mode):
    folder = tiny_models.write_torchscript(tmp_path, takes_dict=False)
    spec = {"model_format": ModelFormat.TORCH_SCRIPT, "framework_type": FrameworkType.HUGGINGFACE_TRANSFORMERS}
    answers = vectors(folder, pooling_mode=mode, **spec)
    if mode is PoolingMode.NONE:
        tokenizer = tiny_models.Tokenizer.from_file(str(folder / "tokenizer.json"))
        wanted = [tiny_models.hidden_of(tokenizer.encode(text).ids).reshape(-1) for text in TEXTS]
    else:
        wanted = expected(folder, mode)
    for answer, vector in zip(answers, wanted, strict=True):
        assert answer.shape == (1, len(vector))
        np.testing.assert_allclose(answer[0], vector, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", b"no graph at all", "Protobuf parsing failed"),
        ("model.onnx", None, "Can't find model file"),
        ("tokenizer.json", None, "No tokenizer file"),
        ("tokenizer.json", b"{}", "tokenizer.json"),
        ("second.onnx", b"x", "Expected 1"),
    ],
)
def test_a_broken_folder_fails_with_the_reason_and_no_local_path(tmp_path, name, content, reason):
    tiny_models.write_onnx(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EngineFault, match=reason) as caught:
        embedding.load(tmp_path, device=CPU, spec=ModelSpec())
    assert caught.value.code is FaultCode.LOAD_FAILED
    assert str(tmp_path) not in caught.value.reason


def test_an_input_that_no_text_model_has_is_refused(tmp_path):
    tiny_models.write_onnx(tmp_path, inputs=("input_ids", "pixels"))
    with pytest.raises(EngineFault, match=r"Input mismatch.*pixels"):
        embedding.load(tmp_path, device=CPU, spec=ModelSpec())


def test_a_broken_or_forbidden_torchscript_file_is_refused(tmp_path):
    folder = tiny_models.write_torchscript(tmp_path, takes_dict=True)
    spec = ModelSpec(model_format=ModelFormat.TORCH_SCRIPT)
    with pytest.raises(EngineFault, match="not allowed") as caught:
        embedding.load(folder, device=CPU, spec=spec, allow_torchscript=False)
    assert caught.value.code is FaultCode.UNSUPPORTED
    tiny_models.changed(folder / "model.pt", lambda data: data[: len(data) // 2])
    with pytest.raises(EngineFault) as caught:
        embedding.load(folder, device=CPU, spec=spec)
    assert caught.value.code is FaultCode.LOAD_FAILED and str(tmp_path) not in caught.value.reason


def test_other_functions_are_refused_by_name(tmp_path):
    with pytest.raises(EngineFault, match="TEXT_SIMILARITY"):
        embedding.load(tmp_path, device=CPU, spec=ModelSpec(function_name=FunctionName.TEXT_SIMILARITY))


def test_a_graph_cannot_read_weights_outside_its_folder(tmp_path):
    import onnx

    folder = tiny_models.write_onnx(tmp_path / "model")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(tiny_models.table().tobytes())
    model = onnx.load(folder / "model.onnx")
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for location in ("../secret.bin", str(secret)):
        del weights.external_data[:]
        weights.external_data.add(key="location", value=location)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(EngineFault) as caught:
            embedding.load(folder, device=CPU, spec=ModelSpec())
        assert caught.value.code is FaultCode.LOAD_FAILED
