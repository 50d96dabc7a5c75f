"""Texts of many documents share calls; each document gets its own vectors and only its own errors."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.caller import Caller
from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors, TextDocsInput
from bridge.errors import BridgeError, EngineError, InvalidRequest, NotFound
from bridge.processors.ingest import IngestDocument, IngestServices
from bridge.processors.text_embedding import CALLS_AT_ONCE, TEXTS_A_CALL, build, embeddings
from bridge.wire import dumps_exact, loads


def vector(text: str) -> list[float]:
    return [float(sum(text.encode("utf-8", "surrogatepass")) % 1000), float(len(text))]


class Model:
    """Sums the bytes of a text."""

    def __init__(self, *, remote: bool = False, fails: dict[str, BridgeError] | None = None) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.callers: list[Caller | None] = []
        self.most = self._running = 0
        self._remote = remote
        self._fails = fails or {}

    async def predict(
        self, model_id: str, input: TextDocsInput, *, deadline: float | None = None, caller: Caller | None = None
    ) -> MLOutput:
        self.calls.append(input.text_docs)
        self.callers.append(caller)
        self._running += 1
        self.most = max(self.most, self._running)
        await asyncio.sleep(0)
        self._running -= 1
        for text in input.text_docs:
            if text in self._fails:
                raise self._fails[text]
        tensors = [
            ModelTensor(name="sentence_embedding", data=np.array(vector(t), np.float32)) for t in input.text_docs
        ]
        if self._remote:
            return MLOutput(inference_results=(ModelTensors(output=tuple(tensors)),))
        return MLOutput(inference_results=tuple(ModelTensors(output=(tensor,)) for tensor in tensors))


async def nothing(_: IngestDocument) -> None:
    return None


async def run(model: Model, documents: list[dict[str, Any]], field_map: dict[str, Any]) -> list[Any]:
    processor = build({"model_id": "m", "field_map": field_map}, IngestServices(predictor=model))
    outcomes = await processor.run([IngestDocument(fields=document) for document in documents], nothing)
    return [o if isinstance(o, BridgeError) else loads(dumps_exact(o)) for o in outcomes]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
documents = st.lists(
    st.fixed_dictionaries({}, optional={"a": texts, "b": st.lists(texts, max_size=3), "z": st.integers(0, 9)}),
    max_size=6,
)


@given(documents, st.booleans())
def test_each_text_gets_its_own_vector(many: list[dict[str, Any]], remote: bool) -> None:
    found = asyncio.run(run(Model(remote=remote), many, {"a": "av", "b": "bv"}))
    for document, outcome in zip(many, found, strict=True):
        expected = dict(document)
        if document.get("a", "").strip():
            expected["av"] = vector(document["a"])
        if document.get("b"):
            expected["bv"] = [{"knn": vector(text)} for text in document["b"]]
        assert outcome == expected


async def test_texts_are_sent_sorted_by_length_and_in_bounded_calls() -> None:
    model = Model()
    many = [{"a": "x" * (1 + at % 7)} for at in range(10 * TEXTS_A_CALL)]
    found = await run(model, many, {"a": "v"})
    assert [outcome["v"] for outcome in found] == [vector(document["a"]) for document in many]
    assert all(len(call) <= TEXTS_A_CALL for call in model.calls)
    assert all(list(map(len, call)) == sorted(map(len, call)) for call in model.calls)
    assert len(model.calls) == 10
    assert model.most <= CALLS_AT_ONCE


async def test_a_text_that_the_model_refuses_fails_its_document_alone() -> None:
    model = Model(fails={"bad": InvalidRequest("cannot")})
    found = await run(model, [{"a": "one"}, {"a": "bad"}, {"a": "two"}, {"n": 1}], {"a": "v"})
    assert found[0]["v"] == vector("one")
    assert isinstance(found[1], InvalidRequest)
    assert found[2]["v"] == vector("two")
    assert found[3] == {"n": 1}


async def test_a_model_that_is_not_there_is_not_asked_for_each_document() -> None:
    model = Model(fails={f"{at}": NotFound("no model") for at in range(50)})
    found = await run(model, [{"a": f"{at}"} for at in range(50)], {"a": "v"})
    assert all(isinstance(outcome, NotFound) for outcome in found)
    assert len(model.calls) == 2


async def test_documents_without_texts_need_no_model() -> None:
    model = Model()
    assert await run(model, [{"a": " "}, {"a": None}, {}], {"a": "v"}) == [{"a": " "}, {"a": None}, {}]
    assert model.calls == []


def test_a_wrong_number_of_vectors_is_an_error_of_the_model() -> None:
    with pytest.raises(EngineError, match="0 vectors for 2 texts"):
        embeddings(MLOutput(inference_results=()), 2)


async def test_the_model_runs_for_who_sends_the_document() -> None:
    model = Model()
    processor = build({"model_id": "m", "field_map": {"a": "v"}}, IngestServices(predictor=model))
    ada = Caller(name="ada")
    await processor.run([IngestDocument(fields={"a": "x"}, caller=ada)], nothing)
    await processor.run([IngestDocument(fields={"a": "x"})], nothing)
    assert model.callers == [ada, None]
