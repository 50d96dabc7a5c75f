"""What an output path reads out of a model's answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from bridge.domain.tensor import (
    MLInput,
    MLOutput,
    ModelTensor,
    ModelTensors,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import EngineError, InvalidRequest
from bridge.processors.model_answer import ModelAnswer, pooled

ASKED = RemoteInput(parameters={})


def remote(answer: dict[str, Any]) -> MLOutput:
    tensor = ModelTensor(name="response", data_as_map=answer)
    return MLOutput(inference_results=(ModelTensors(output=(tensor,), status_code=200),))


def tensor(*values: float, kind: Any = np.float32, name: str = "similarity") -> ModelTensor:
    data = np.array(values, dtype=kind)
    return ModelTensor(name=name, data_type="FLOAT32", shape=(len(values),), data=data, byte_buffer=data.tobytes())


def of(output: MLOutput, *, full: bool = False, ignore: bool = False, asked: MLInput = ASKED) -> ModelAnswer:
    return ModelAnswer(output, asked, full_response_path=full, ignore_missing=ignore)


def test_a_key_beats_a_path() -> None:
    answer = of(remote({"a.b": 1, "a": {"b": 2, "c": [3]}, "none": None}))
    assert [answer.value(path) for path in ("a.b", "$.a.b", "a.c[0]", "none", "a.c.length()")] == [1, 2, 3, None, 1]


def test_no_path_is_the_whole() -> None:
    assert of(remote({"n": 3})).value(None) == {"n": 3}
    assert of(remote({"n": 3}), full=True).value(None) == {
        "inference_results": [{"output": [{"name": "response", "dataAsMap": {"n": 3.0}}], "status_code": 200.0}]
    }


@pytest.mark.parametrize("path", ["nope", "a.nope", "zz[*].a", "out.meanPooling()", "a["])
def test_missing_values_are_an_error_or_the_whole(path: str) -> None:
    answer = {"a": {"b": 1}, "out": [1]}
    with pytest.raises(EngineError) as missing:
        of(remote(answer)).value(path)
    assert missing.value.kind == "runtime_exception"
    assert missing.value.reason == (
        f"An unexpected error occurred: model inference output cannot find field name: {path}"
    )
    assert of(remote(answer), ignore=True).value(path) == answer
    with pytest.raises(EngineError, match="cannot find such json path"):
        of(remote(answer), full=True).value(path)
    assert of(remote(answer), full=True, ignore=True).value(path) == of(remote(answer), full=True).whole


def test_a_null_is_found_but_not_in_the_whole_answer() -> None:
    assert of(remote({"x": None})).value("$.x") is None
    with pytest.raises(EngineError):
        of(remote({"x": None}), full=True).value("$.inference_results[0].output[0].dataAsMap.x")


def test_numbers_are_doubles_in_the_whole_answer_only() -> None:
    answer = {"i": 3, "d": Decimal("0.1"), "t": True, "huge": 10**400, "e": Decimal("1e400")}
    found = of(remote(answer), full=True).value("$.inference_results[0].output[0].dataAsMap")
    assert found == {"i": 3.0, "d": 0.1, "t": True, "huge": 10**400, "e": Decimal("1e400")}
    assert isinstance(found["i"], float)
    assert of(remote(answer)).value("i") is answer["i"]


def test_vectors_have_the_shortest_digits_of_a_float32() -> None:
    output = MLOutput(inference_results=(ModelTensors(output=(tensor(0.1, 3),)),))
    assert of(output).value("whatever") == [0.1, 3.0]


def test_of_several_tensors_a_list_and_of_several_results_the_first() -> None:
    two = ModelTensors(output=(tensor(1), tensor(2, 3)))
    assert of(MLOutput(inference_results=(two, ModelTensors(output=(tensor(9),))))).value("x") == [[1.0], [2.0, 3.0]]
    maps = ModelTensors(output=(ModelTensor(data_as_map={"s": 1}), ModelTensor(data_as_map={"s": 2})))
    assert of(MLOutput(inference_results=(maps,))).value("s") == [1, 2]
    with pytest.raises(EngineError, match="Error accessing tensor data: model inference output cannot find"):
        of(MLOutput(inference_results=(maps,))).value("z")


def test_integers_and_truth_values() -> None:
    for kind, values in ((np.int64, [1, 2]), (np.bool_, [True, False])):
        output = MLOutput(inference_results=(ModelTensors(output=(tensor(*values, kind=kind),)),))
        assert of(output).value("x") == values


def test_empty_answers() -> None:
    for output, reason in (
        (MLOutput(inference_results=()), "Model outputs are null or empty."),
        (MLOutput(inference_results=(ModelTensors(output=()),)), "Output tensors are null or empty."),
        (MLOutput(inference_results=(ModelTensors(output=(ModelTensor(name="x"),)),)), "unsupported data type"),
    ):
        with pytest.raises(EngineError, match=reason):
            of(output).value("x")


def test_a_text_result() -> None:
    output = MLOutput(inference_results=(ModelTensors(output=(ModelTensor(name="answer", result="Rome"),)),))
    assert of(output).value("x") == "Rome"
    assert of(output, full=True).value("$.inference_results[*].output[*].result") == ["Rome"]


def test_the_filters_of_the_input_hold_in_the_whole_answer() -> None:
    output = MLOutput(inference_results=(ModelTensors(output=(tensor(1),)),))
    asked = TextDocsInput(text_docs=("a",), return_number=False, return_bytes=True)
    [found] = of(output, full=True, asked=asked).value("$.inference_results[0].output")
    assert found == {
        "name": "similarity",
        "data_type": "FLOAT32",
        "shape": [1.0],
        "byte_buffer": {"array": "AACAPw==", "order": "LITTLE_ENDIAN"},
    }
    [plain] = of(output, full=True, asked=TextDocsInput(text_docs=("a",))).value("$.inference_results[0].output")
    assert "byte_buffer" not in plain
    scored = TextSimilarityInput(query_text="q", text_docs=("a",))
    assert of(output, full=True, asked=scored).value("$.inference_results[*].output[*].data") == [[1.0]]


def test_pooling() -> None:
    answer = of(remote({"mat": [[1, 2], [3, Decimal("4.5")]], "vec": [0.1], "no": "x", "odd": [[1], [1, 2]], "e": []}))
    assert answer.pooled("mat.meanPooling()") == [2.0, 3.25]
    assert answer.pooled("$.mat.maxPooling()") == [3.0, 4.5]
    assert answer.pooled("vec") == [0.1]
    for path, problem in (
        ("no.meanPooling()", "Mean pooling requires a list input"),
        ("vec.maxPooling()", "Max pooling requires nested array structure"),
        ("e.maxPooling()", "Max pooling requires nested array structure"),
        ("odd.meanPooling()", "All vectors must have the same dimension"),
    ):
        with pytest.raises(InvalidRequest, match=problem):
            answer.pooled(path)
    assert pooled([["x", 1], [2, 3]], mean=True) == [1.0, 2.0]
