"""`rerank` without a cluster: what the model is asked, order, numbers, and answers that do not fit."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.caller import Caller
from bridge.domain.tensor import MLInput, MLOutput, ModelTensor, ModelTensors, TextSimilarityInput
from bridge.errors import EngineError, InvalidRequest
from bridge.processors.registry import NATIVE_RESPONSE, RESPONSE
from bridge.processors.rerank import shortest
from bridge.processors.search import SearchContext, SearchServices
from bridge.processors.source_path import ABSENT, at_path, without

ANN = Caller(name="ann")


class Model:
    def __init__(self, *scores: float, one_result: bool = False) -> None:
        self.scores, self.one_result = scores, one_result
        self.calls: list[tuple[str, MLInput, float | None, Caller | None]] = []

    async def predict(
        self, model_id: str, input: MLInput, *, deadline: float | None = None, caller: Caller | None = None
    ) -> MLOutput:
        self.calls.append((model_id, input, deadline, caller))
        tensors = [ModelTensor(name="similarity", data=np.asarray([score], np.float32)) for score in self.scores]
        if self.one_result:
            return MLOutput(inference_results=(ModelTensors(output=tuple(tensors)),))
        return MLOutput(inference_results=tuple(ModelTensors(output=(tensor,)) for tensor in tensors))


def found(*texts: str) -> dict[str, Any]:
    hits = [{"_id": str(at), "_score": 1.0, "_source": {"a": text}} for at, text in enumerate(texts)]
    return {"took": 1, "pit_id": "p", "ext": {"x": 1}, "hits": {"total": {"value": 9}, "max_score": 1.0, "hits": hits}}


async def reranked(model: Model, response: dict[str, Any], **context: Any) -> dict[str, Any]:
    async def request() -> dict[str, Any]:
        return {"ext": {"rerank": {"query_context": {"query_text": "q"}}}}

    config = {"ml_opensearch": {"model_id": "m"}, "context": {"document_fields": ["a"]}}
    processor = RESPONSE["rerank"](config, SearchServices(predictor=model))
    return await processor.process(response, SearchContext(request=request, **context))


@pytest.mark.parametrize("one_result", [True, False])
async def test_all_hits_go_to_the_model_in_one_call_for_the_caller(one_result: bool) -> None:
    model = Model(0.1, 0.7, 0.7, one_result=one_result)
    deadline = asyncio.get_running_loop().time() + 5
    made = await reranked(model, found("x", "y", "z"), caller=ANN, deadline=deadline)
    ((model_id, asked, seconds, caller),) = model.calls
    assert (model_id, asked, caller) == ("m", TextSimilarityInput(query_text="q", text_docs=("x", "y", "z")), ANN)
    assert seconds is not None
    assert 4 < seconds <= 5
    assert [(hit["_id"], hit["_score"]) for hit in made["hits"]["hits"]] == [("1", 0.7), ("2", 0.7), ("0", 0.1)]
    assert made["hits"]["max_score"] == 0.7
    # The reference loses `ext` and adds an empty profile.
    assert {name: value for name, value in made.items() if name != "hits"} == {
        "took": 1,
        "pit_id": "p",
        "ext": {"x": 1},
    }


async def test_an_answer_of_another_length_is_the_models_fault() -> None:
    with pytest.raises(EngineError, match="1 scores for 2 documents"):
        await reranked(Model(0.5), found("x", "y"))


async def test_nothing_found_asks_nobody() -> None:
    empty = {"hits": {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}}
    model = Model()
    assert await reranked(model, empty) == empty
    assert not model.calls


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_scores_have_the_shortest_digits_of_32_bits(number: float) -> None:
    assert np.float32(shortest(number)) == np.float32(number)
    assert repr(shortest(number)) == repr(float(str(np.float32(number))))


def test_scores_beyond_32_bits_stay_numbers() -> None:
    assert shortest(1e39) == 1e39
    assert shortest(16777217) == 16777216.0


def test_paths() -> None:
    source = {"a": {"b": [{"c": 1}, {"c": None}, {"d": 2}, 5]}, "t": ["x", "y"], "n": [1, 2], "e": []}
    assert at_path(source, "a.b.c") == [1]
    assert at_path(source, "a.b.z") is ABSENT
    assert at_path(source, "a.x.c") is ABSENT
    assert at_path(source, "t") == [["x", "y"]]
    assert at_path(source, "n") == [1, 2]
    assert at_path(source, "e") == []
    assert without({"a": {"b": {"c": 1}}, "z": 1}, "a.b.c") == {"z": 1}
    assert without({"a": {"b": {"c": 1}, "x": 2}}, "a.b.c") == {"a": {"x": 2}}
    assert without({"a": 1}, "a") == {}
    assert without({"a": 1}, "a.b") == {"a": 1}


@pytest.mark.parametrize(
    "separator", ["(", "[a&&b]", "[a[b]]", "(?x)a", r"\p{IsGreek}", "(?<n>a)", r"\cA", "a**", r"\N"]
)
def test_separators_that_mean_something_else_are_refused_at_put(separator: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be used after an ML processor"):
        NATIVE_RESPONSE["split"]({"field": "a", "separator": separator}, SearchServices(predictor=Model()))
