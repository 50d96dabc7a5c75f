"""Sparse encoding, tokenizing, similarity and question answering, against what the tables of the tiny models say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_functions as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_models import docs

from bridge.domain.names import FunctionName, ModelFormat
from bridge.domain.tensor import QuestionAnsweringInput, TextDocsInput, TextSimilarityInput
from bridge.engines import local_model
from bridge.engines.answering import best_span
from bridge.engines.devices import CPU
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import ModelSpec
from bridge.engines.sparse import splade

ONNX, SCRIPT = ModelFormat.ONNX, ModelFormat.TORCH_SCRIPT
SPARSE, TOKENIZE = FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE
SIMILARITY, ANSWERING = FunctionName.TEXT_SIMILARITY, FunctionName.QUESTION_ANSWERING
TEXTS = ("hello Paris, in the city", "", "the the cat [SEP]", "zebra 東京", "river " * 90)

Load = Callable[..., local_model.LocalModel]


@pytest.fixture
def load() -> Iterator[Load]:
    opened = []

    def of(folder: Path, function: FunctionName, model_format: ModelFormat = ONNX) -> local_model.LocalModel:
        spec = ModelSpec(function_name=function, model_format=model_format)
        opened.append(local_model.load(folder, device=CPU, spec=spec))
        return opened[-1]

    yield of
    for model in opened:
        model.close()


def asked(model: local_model.LocalModel, input: Any) -> list[Any]:
    """The answer's rows, run in one batch; and the same when every text runs alone."""
    encoded = model.encode(model.texts(input))
    together = model.answer(input, model.run(encoded))
    alone = model.answer(input, [model.run([one])[0] for one in encoded])
    for row, other in zip(together, alone, strict=True):
        for a, b in zip(row, other, strict=True):
            if hasattr(a, "array"):
                np.testing.assert_allclose(a.array, b.array, rtol=1e-5, atol=1e-5)
            elif a is not None and a.data_as_map is not None:
                (first,), (second,) = a.data_as_map["response"], b.data_as_map["response"]
                assert first == pytest.approx(second, abs=1e-6)
    return [list(row) for row in together]


def ids_of(text: str) -> list[int]:
    return list(tiny.tokenizer().encode(text).ids)


def expected_weights(text: str) -> dict[int, float]:
    row = np.log1p(np.maximum(tiny.tables()["expand"][ids_of(text)], 0).max(0))
    return {n: float(value) for n, value in enumerate(row) if value}


@pytest.mark.parametrize(
    ("write", "model_format", "name"),
    [
        (tiny.write_sparse_onnx, ONNX, None),
        (lambda folder: tiny.write_sparse_onnx(folder, logits=True), ONNX, None),
        (lambda folder: tiny.write_sparse_onnx(folder, prefix="input1."), ONNX, None),
        (tiny.write_sparse_script, SCRIPT, "output"),
        (lambda folder: tiny.write_sparse_script(folder, answers="tensor"), SCRIPT, None),
        (lambda folder: tiny.write_sparse_script(folder, answers="logits"), SCRIPT, None),
    ],
    ids=["onnx", "onnx-logits", "onnx-input1", "script-dict", "script-tensor", "script-logits"],
)
def test_sparse_weights_are_the_largest_of_all_tokens(load, tmp_path, write, model_format, name):
    model = load(write(tmp_path), SPARSE, model_format)
    rows = asked(model, docs(*TEXTS))
    by_id = asked(model, docs(*TEXTS, token_ids=True))
    for text, (word_row,), (id_row,) in zip(TEXTS, rows, by_id, strict=True):
        wanted = expected_weights(text)
        assert word_row.name == name and list(word_row.data_as_map) == ["response"]
        assert id_row.data_as_map["response"] == [pytest.approx({str(n): w for n, w in wanted.items()}, abs=1e-6)]
        words = {tiny.VOCABULARY[n]: w for n, w in wanted.items() if n >= len(tiny.SPECIAL)}
        assert word_row.data_as_map["response"] == [pytest.approx(words, abs=1e-6)]


def test_sparse_weights_have_the_digits_of_a_float32(load, tmp_path):
    ((tensor,),) = asked(load(tiny.write_sparse_onnx(tmp_path), SPARSE), docs("hello"))
    assert tensor.data_as_map["response"][0]["hello"] == 0.6931472


def test_sparse_answers_are_filtered_by_name_and_position(load, tmp_path):
    model = load(tiny.write_sparse_script(tmp_path), SPARSE, SCRIPT)
    assert asked(model, docs("hello", target_response=("x",))) == [[None]]
    assert asked(model, docs("hello", target_response=("output",)))[0][0] is not None
    assert asked(model, docs("hello", target_response_positions=(0,)))[0][0] is not None


@given(hnp.arrays(np.float32, (2, 5, 3), elements=st.floats(-5, 5, width=32)), st.integers(0, 5))
def test_splade_is_the_largest_log_of_one_plus_the_positive_part(logits, count):
    mask = np.array([[1] * 5, [1] * count + [0] * (5 - count)])
    found = splade(logits, mask)
    direct = np.log1p(np.maximum(logits, 0)) * mask[:, :, None]
    np.testing.assert_allclose(found, direct.max(1), atol=1e-6)


def test_tokenizing_weighs_by_the_table_and_else_by_one(load, tmp_path):
    model = load(tiny.write_tokenize(tmp_path, idf={"cat": 2.5, "[CLS]": 7, "##e": 0.25}), TOKENIZE)
    rows = asked(model, docs("hello cat ZE cat [SEP] 東", "", target_response=("x",)))
    assert rows[0][0].data_as_map == {"response": [{"hello": 1.0, "cat": 2.5, "z": 1.0, "##e": 0.25}]}
    assert rows[1][0].data_as_map == {"response": [{}]}
    by_id = asked(model, docs("cat 東", token_ids=True))
    assert by_id[0][0].data_as_map == {"response": [{str(tiny.VOCABULARY.index("cat")): 2.5}]}


def test_tokenizing_needs_no_table(load, tmp_path):
    rows = asked(load(tiny.write_tokenize(tmp_path), TOKENIZE), docs("the cat"))
    assert rows[0][0].data_as_map == {"response": [{"the": 1.0, "cat": 1.0}]}


@pytest.mark.parametrize("table", ["[1]", '{"a": "x"}', "{"])
def test_a_table_that_is_none_fails_the_load(load, tmp_path, table):
    (tiny.write_tokenize(tmp_path) / "idf.json").write_text(table)
    with pytest.raises(EngineFault, match=r"idf\.json") as caught:
        load(tmp_path, TOKENIZE)
    assert caught.value.code is FaultCode.LOAD_FAILED


def score_of(query: str, text: str) -> float:
    encoding = tiny.tokenizer().encode(query, text)
    vectors = tiny.tables()["embed"][encoding.ids]
    types = np.array(encoding.type_ids)[:, None]
    return float(((vectors * (1 - types)).sum(0) * (vectors * types).sum(0)).sum())


@pytest.mark.parametrize(("write", "model_format"), [(tiny.write_cross_onnx, ONNX), (tiny.write_cross_script, SCRIPT)])
def test_similarity_is_the_raw_score_of_each_pair(load, tmp_path, write, model_format):
    model = load(write(tmp_path), SIMILARITY, model_format)
    for query in ("where is Paris", "", "hello " * 80):
        rows = asked(model, TextSimilarityInput(query_text=query, text_docs=TEXTS))
        for text, (tensor,) in zip(TEXTS, rows, strict=True):
            assert (tensor.name, tensor.array.shape, tensor.with_bytes) == ("similarity", (1,), True)
            assert tensor.array[0] == pytest.approx(score_of(query, text), rel=1e-4, abs=1e-4)


def test_similarity_of_several_labels_answers_all(load, tmp_path):
    model = load(tiny.write_cross_onnx(tmp_path, labels=2), SIMILARITY)
    ((tensor,),) = asked(model, TextSimilarityInput(query_text="a", text_docs=("cat",)))
    assert tensor.array.shape == (2,) and tensor.array[1] == pytest.approx(2 * tensor.array[0])


def test_a_cross_encoder_without_token_types_gets_what_it_declares(load, tmp_path):
    model = load(tiny.write_cross_onnx(tmp_path, types=False), SIMILARITY)
    ((tensor,),) = asked(model, TextSimilarityInput(query_text="a", text_docs=("cat",)))
    assert tensor.array.shape == (1,)


def answer(model: local_model.LocalModel, question: str, context: str) -> str:
    ((said,),) = asked(model, QuestionAnsweringInput(question=question, context=context))
    assert said.name is None and said.data_as_map is None
    return said.result


@pytest.mark.parametrize(
    ("write", "model_format"),
    [
        (tiny.write_answers_onnx, ONNX),
        (lambda folder: tiny.write_answers_onnx(folder, swapped=True), ONNX),
        (tiny.write_answers_script, SCRIPT),
    ],
    ids=["onnx", "onnx-swapped", "script"],
)
def test_the_best_span_of_the_context_answers(load, tmp_path, write, model_format):
    model = load(write(tmp_path), ANSWERING, model_format)
    assert answer(model, "where was it", "it was in london, a large  city") == "london, a large  city"
    # The reference answers tokens, so what a tokenizer folds stays folded.
    assert answer(model, "where was it", "It was in Paris, a large city.") == "paris , a large city"
    assert answer(model, "paris city", "the dog sat on london river") == "london river"
    assert answer(model, "where", "city of paris") == "paris"
    assert "[" not in answer(model, "where", "hello world") + answer(model, "where", "東京 京都")
    assert answer(model, "where", " ") == ""


def test_a_long_context_is_read_to_its_end(load, tmp_path):
    model = load(tiny.write_answers_onnx(tmp_path), ANSWERING)
    filler = "hello world " * 300
    assert answer(model, "where", filler + "paris the city") == "paris the city"
    assert answer(model, "where", filler + "london " + filler) == "london"
    # Longer than half a window allows for; the question gives way.
    assert answer(model, "where is it " * 60, "the london river") == "london river"


def test_a_context_that_nobody_could_wait_for_is_refused(load, tmp_path):
    model = load(tiny.write_answers_onnx(tmp_path), ANSWERING)
    with pytest.raises(EngineFault, match="1000001 characters; at most 1000000") as caught:
        model.texts(QuestionAnsweringInput(question="where", context="x" * 1_000_001))
    assert caught.value.code is FaultCode.BAD_INPUT


@given(st.data())
def test_every_window_fits_and_together_they_cover_the_context(tmp_path_factory, data):
    model = _windows_of(tmp_path_factory)
    words = data.draw(st.lists(st.sampled_from(tiny.WORDS), min_size=1, max_size=150))
    question = " ".join(data.draw(st.lists(st.sampled_from(tiny.WORDS), max_size=80)))
    context = " ".join(words)
    seen = set()
    for window in model.encode([(question, context)]):
        assert len(window) <= tiny.MAX_TOKENS and list(window.ids).count(tiny.SEP) == 2
        own = slice(window.first, window.first + len(window.offsets))
        assert [tiny.VOCABULARY[n] for n in window.ids[own]] == list(window.tokens)
        assert set(window.type_ids[own]) <= {1}
        seen |= {context[start:stop] + str(start) for start, stop in window.offsets}
    assert len(seen) == len(words)


_models: dict[str, local_model.LocalModel] = {}


def _windows_of(factory: pytest.TempPathFactory) -> local_model.LocalModel:
    if "windows" not in _models:
        folder = tiny.write_answers_onnx(factory.mktemp("windows"))
        _models["windows"] = local_model.load(folder, device=CPU, spec=ModelSpec(function_name=ANSWERING))
    return _models["windows"]


@given(st.lists(st.tuples(*[st.floats(-9, 9, width=32)] * 2), min_size=1, max_size=12))
def test_the_best_span_is_the_best_of_all_pairs_in_order(pairs):
    starts, ends = (np.array(column, dtype=np.float32) for column in zip(*pairs, strict=True))
    start, stop = best_span(starts, ends)
    every = [starts[i] + ends[j] for i in range(len(starts)) for j in range(i, len(starts))]
    assert start <= stop and starts[start] + ends[stop] == max(every)


@pytest.mark.parametrize("function", [SPARSE, SIMILARITY, ANSWERING, TOKENIZE])
def test_another_functions_input_is_refused(load, tmp_path, function):
    writes = {
        SPARSE: tiny.write_sparse_onnx,
        SIMILARITY: tiny.write_cross_onnx,
        ANSWERING: tiny.write_answers_onnx,
        TOKENIZE: tiny.write_tokenize,
    }
    model = load(writes[function](tmp_path), function)
    wrong: Any = (
        QuestionAnsweringInput(question="a", context="b")
        if function in (SPARSE, TOKENIZE)
        else TextDocsInput(text_docs=("a",))
    )
    with pytest.raises(EngineFault) as caught:
        model.texts(wrong)
    assert caught.value.code is FaultCode.BAD_INPUT


def test_a_model_of_another_function_fails_the_load(load, tmp_path):
    with pytest.raises(EngineFault, match="start and end logits") as caught:
        load(tiny.write_cross_script(tmp_path), ANSWERING, SCRIPT)
    assert caught.value.code is FaultCode.LOAD_FAILED and str(tmp_path) not in caught.value.reason
