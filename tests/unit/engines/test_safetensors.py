"""Hugging Face folders run as they are: the numbers of transformers itself, and of the other formats."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_functions as tiny
from tiny_folders import modules, write
from tiny_models import docs

from bridge.domain.names import FunctionName, ModelFormat, PoolingMode
from bridge.domain.tensor import QuestionAnsweringInput, TextSimilarityInput
from bridge.engines import export, huggingface, local_model
from bridge.engines.devices import CPU
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import ModelSpec

EMBEDDING, SPARSE = FunctionName.TEXT_EMBEDDING, FunctionName.SPARSE_ENCODING
SIMILARITY, ANSWERING = FunctionName.TEXT_SIMILARITY, FunctionName.QUESTION_ANSWERING
TEXTS = ("hello Paris, in the city", "", "the cat sat on the mat " * 30, "zebra 東京", "x")


def load(folder: Path, function: FunctionName = EMBEDDING, **said: Any) -> local_model.LocalModel:
    spec = ModelSpec(function_name=function, model_format=ModelFormat.SAFETENSORS, **said)
    return local_model.load(folder, device=CPU, spec=spec, allow_torchscript=False)


def asked(model: local_model.LocalModel, input: Any) -> list[Any]:
    """The first tensor of each row."""
    encoded = model.encode(model.texts(input))
    found = [row[0] for row in model.answer(input, model.run(encoded))]
    model.close()
    return found


def direct(folder: Path, kind: str, text: str, pair: str | None = None) -> Any:
    """What transformers answers for one text alone."""
    import torch
    import transformers

    tokens = tiny.tokenizer().encode(text, pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, kind).from_pretrained(folder).eval()
    given = {"input_ids": torch.tensor([tokens.ids]), "attention_mask": torch.tensor([tokens.attention_mask])}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        given["token_type_ids"] = torch.tensor([tokens.type_ids])
    with torch.inference_mode():
        return model(**given)


def cosine(first: Any, second: Any) -> float:
    first, second = np.asarray(first, np.float64).reshape(-1), np.asarray(second, np.float64).reshape(-1)
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Roberta", "T5"])
def test_embeddings_are_the_mean_of_the_token_vectors(tmp_path, family):
    folder = write(tmp_path, "Model", family=family)
    kind = "T5EncoderModel" if family == "T5" else "AutoModel"
    for text, tensor in zip(TEXTS, asked(load(folder), docs(*TEXTS)), strict=True):
        wanted = direct(folder, kind, text).last_hidden_state[0].mean(0).numpy()
        assert (tensor.name, tensor.array.shape, tensor.array.dtype) == ("sentence_embedding", (16,), np.float32)
        np.testing.assert_allclose(tensor.array, wanted, atol=1e-5)


def test_pooling_and_normalising_come_from_the_folder_unless_said(tmp_path):
    folder = write(tmp_path, "Model")
    modules(folder, ("1_Pooling", "Pooling", {"pooling_mode_cls_token": True}), ("2_Normalize", "Normalize", {}))
    first = direct(folder, "AutoModel", "hello").last_hidden_state[0].numpy()
    (by_folder,) = asked(load(folder), docs("hello"))
    np.testing.assert_allclose(by_folder.array, first[0] / np.linalg.norm(first[0]), atol=1e-5)
    (said,) = asked(load(folder, pooling_mode=PoolingMode.MEAN, normalize_result=False), docs("hello"))
    np.testing.assert_allclose(said.array, first.mean(0), atol=1e-5)
    (largest,) = asked(load(folder, pooling_mode=PoolingMode.MAX, normalize_result=False), docs("hello"))
    np.testing.assert_allclose(largest.array, first.max(0), atol=1e-5)
    (every,) = asked(load(folder, pooling_mode=PoolingMode.NONE), docs("hello"))
    assert every.array.shape == (1, first.size)


def test_a_folder_answers_as_its_onnx_export(tmp_path):
    folder = write(tmp_path / "folder", "Model")
    modules(folder, ("1_Pooling", "Pooling", {"pooling_mode_mean_tokens": True}))
    packed = tmp_path / "packed"
    packed.mkdir()
    source = export.load(huggingface.read(folder))
    export.write(source, ModelFormat.ONNX, packed)
    tiny.tokenizer().save(str(packed / "tokenizer.json"))
    graph = local_model.load(packed, device=CPU, spec=ModelSpec())
    for ours, theirs in zip(asked(load(folder), docs(*TEXTS)), asked(graph, docs(*TEXTS)), strict=True):
        assert cosine(ours.array, theirs.array) >= 0.99999


@pytest.mark.parametrize(("activation", "logarithms"), [(None, 1), ("relu", 1), ("log1p_relu", 2)])
@pytest.mark.parametrize("strategy", ["max", "sum"])
def test_sparse_weights_come_from_the_masked_words(tmp_path, activation, logarithms, strategy):
    folder = write(tmp_path, "ForMaskedLM")
    if activation is not None:
        modules(
            folder,
            ("1_SpladePooling", "SpladePooling", {"activation_function": activation, "pooling_strategy": strategy}),
        )
    for text, tensor in zip(TEXTS, asked(load(folder, SPARSE), docs(*TEXTS, token_ids=True)), strict=True):
        weights = np.maximum(direct(folder, "AutoModelForMaskedLM", text).logits[0].numpy(), 0)
        for _ in range(logarithms):
            weights = np.log1p(weights)
        wanted = weights.sum(0) if strategy == "sum" and activation else weights.max(0)
        assert tensor.name == "output"
        found = np.zeros(tiny.SIZE, np.float32)
        for number, weight in tensor.data_as_map["response"][0].items():
            found[int(number)] = weight
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_similarity_is_the_logit_of_the_pair(tmp_path, family):
    folder = write(tmp_path, "ForSequenceClassification", family=family, num_labels=1)
    scores = asked(load(folder, SIMILARITY), TextSimilarityInput(query_text="where is Paris", text_docs=TEXTS))
    for text, tensor in zip(TEXTS, scores, strict=True):
        wanted = direct(folder, "AutoModelForSequenceClassification", "where is Paris", text).logits
        assert tensor.array.shape == (1,) and tensor.with_bytes
        assert tensor.array[0] == pytest.approx(float(wanted), abs=1e-4)


def test_the_answer_is_the_best_span_of_transformers(tmp_path):
    folder = write(tmp_path, "ForQuestionAnswering")
    question, context = "which river", "the small green city of london on the river and the bank"
    (said,) = asked(load(folder, ANSWERING), QuestionAnsweringInput(question=question, context=context))
    tokens = tiny.tokenizer().encode(question, context)
    answer = direct(folder, "AutoModelForQuestionAnswering", question, context)
    starts, ends = answer.start_logits[0].numpy(), answer.end_logits[0].numpy()
    own = [
        n for n, (s, m) in enumerate(zip(tokens.sequence_ids, tokens.special_tokens_mask, strict=True)) if s == 1 > m
    ]
    start, stop = max(((i, j) for i in own for j in own if i <= j), key=lambda span: starts[span[0]] + ends[span[1]])
    assert said.result == context[tokens.offsets[start][0] : tokens.offsets[stop][1]]


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_several_threads_run_one_module_at_once(tmp_path, family):
    model = load(write(tmp_path, "ForQuestionAnswering", family=family), ANSWERING)
    pairs = [("where", "the small city of " + word + " on the river" * n) for n, word in enumerate(tiny.WORDS)]
    windows = [model.encode([pair])[0] for pair in pairs]
    alone = [model.run([window])[0] for window in windows]

    def work(number: int) -> None:
        for place in range(number, len(windows) * 4, 4):
            window, wanted = windows[place % len(windows)], alone[place % len(windows)]
            (found,) = model.run([window], lone=place % 3 == 0)
            assert (found.start, found.stop) == (wanted.start, wanted.stop)
            assert found.score == pytest.approx(wanted.score, abs=1e-4)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    model.close()


def refused(folder: Path, function: FunctionName = EMBEDDING) -> str:
    with pytest.raises(EngineFault) as caught:
        load(folder, function)
    assert caught.value.code is FaultCode.LOAD_FAILED
    assert str(folder) not in caught.value.reason and "Traceback" not in caught.value.reason
    return caught.value.reason


def test_weights_that_the_file_lacks_are_never_made_up(tmp_path):
    folder = write(tmp_path, "Model")
    assert "lack 2 weights of a ModelForSequenceClassification: classifier" in refused(folder, SIMILARITY)
    assert "qa_outputs" in refused(folder, ANSWERING)


def test_pickled_weights_are_not_opened(tmp_path):
    folder = write(tmp_path, "Model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder)
    refused(folder, SIMILARITY)


@pytest.mark.parametrize(
    "config",
    [
        "{",
        '{"model_type": "strange"}',
        '{"model_type": "strange", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}',
    ],
)
def test_code_in_the_folder_is_not_run(tmp_path, config):
    folder = write(tmp_path, "Model")
    (folder / "config.json").write_text(config)
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'run')!r}, 'w').close()\nclass Config: pass\nclass Model: pass"
    )
    refused(folder)
    assert not (tmp_path / "run").exists()


def test_damaged_and_missing_files_are_named(tmp_path):
    folder = write(tmp_path, "Model")
    (folder / "model.safetensors").write_bytes(b"\xff" * 200)
    refused(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refused(folder)


@pytest.mark.timeout(300)
def test_the_real_minilm_folder_answers_as_its_onnx_graph(minilm_hf_folder, minilm_onnx_folder):
    texts = docs("a small example sentence", "Zürich, naïve café, 東京の天気", "the harbour report " * 9)
    graph = asked(local_model.load(minilm_onnx_folder, device=CPU, spec=ModelSpec(normalize_result=True)), texts)
    folder = asked(load(minilm_hf_folder), texts)
    assert all(cosine(a.array, b.array) >= 0.9999 for a, b in zip(folder, graph, strict=True))


@pytest.mark.timeout(300)
def test_a_real_sparse_encoder_answers_as_transformers(splade_hf_folder):
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    texts = ("the capital of france is paris", "search engines find documents " * 20)
    tokenizer = AutoTokenizer.from_pretrained(splade_hf_folder, local_files_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = AutoModelForMaskedLM.from_pretrained(splade_hf_folder, local_files_only=True).eval()
    given = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits = module(**given).logits
    weights = (torch.log1p(torch.relu(logits)) * given["attention_mask"].unsqueeze(-1)).amax(1).numpy()
    for row, tensor in zip(weights, asked(load(splade_hf_folder, SPARSE), docs(*texts, token_ids=True)), strict=True):
        found = np.zeros_like(row)
        for number, weight in tensor.data_as_map["response"][0].items():
            found[int(number)] = weight
        assert np.count_nonzero(found) > 0
        np.testing.assert_allclose(found, row, atol=1e-4)
