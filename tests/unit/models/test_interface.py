"""A model's interface: what does not fit is refused with ML Commons' words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import (
    MLInput,
    MLOutput,
    ModelTensor,
    ModelTensors,
    QuestionAnsweringInput,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import InvalidRequest
from bridge.models.interface import InterfaceGuard
from bridge.store.documents import Stored, Version

PROMPT = (
    '{"type":"object","properties":{"parameters":{"type":"object","properties":{"prompt":{"type":"string"},'
    '"n":{"type":"integer"}},"required":["prompt"]}},"required":["parameters"]}'
)
LEAD = (
    "Error validating input schema, if you think this is expected, please update your 'input' field in the 'interface'"
    " field for this model: "
)


def _model(algorithm: FunctionName = FunctionName.REMOTE, **interface: Any) -> Stored[Model]:
    return Stored("m", Model(name="m", algorithm=algorithm, interface=interface or None), Version(1, 1))


async def _refusal(stored: Stored[Model], input: MLInput) -> str:
    with pytest.raises(InvalidRequest) as refused:
        await InterfaceGuard().admit(stored, input, None)
    assert refused.value.kind == "status_exception"
    return refused.value.reason


async def test_the_recorded_refusal_letter_by_letter() -> None:
    instance = '{"algorithm":"REMOTE","parameters":{"foo":1},"action_type":"PREDICT"}'
    problem = "[$.parameters: required property 'prompt' not found]"
    reason = f"{LEAD}Validation failed: {problem} for instance: {instance} with schema: {PROMPT}"
    assert await _refusal(_model(input=PROMPT), RemoteInput(parameters={"foo": 1})) == reason


async def test_texts_count_as_the_json_they_hold_where_no_text_is_asked_for() -> None:
    guard = InterfaceGuard()
    await guard.admit(_model(input=PROMPT), RemoteInput(parameters={"prompt": "12", "n": "3"}), None)
    await guard.admit(_model(input=PROMPT), RemoteInput(parameters={"prompt": 5, "n": 3}), None)
    reason = await _refusal(_model(input=PROMPT), RemoteInput(parameters={"prompt": "a", "n": "many"}))
    assert "[$.parameters.n: string found, integer expected]" in reason


async def test_batches_and_models_without_an_interface_pass() -> None:
    guard = InterfaceGuard()
    await guard.admit(_model(), RemoteInput(parameters={}), None)
    batch = RemoteInput(parameters={}, action_type="batch_predict")
    await guard.admit(_model(input=PROMPT), batch, None)


@pytest.mark.parametrize(
    ("input", "shown"),
    [
        (TextDocsInput(text_docs=("a",)), '"text_docs":["a"],"return_bytes":false,"return_number":true}'),
        (TextSimilarityInput(query_text="q", text_docs=("a",)), '"query_text":"q","text_docs":["a"]}'),
        (QuestionAnsweringInput(question="q", context="c"), '"question":"q","context":"c"}'),
    ],
)
async def test_local_inputs_are_shown_as_ml_commons_writes_them(input: MLInput, shown: str) -> None:
    schema = {"type": "object", "required": ["nothing"]}
    reason = await _refusal(_model(FunctionName.TEXT_EMBEDDING, input=schema), input)
    assert f'for instance: {{"algorithm":"TEXT_EMBEDDING",{shown} with schema' in reason


def test_outputs_are_judged_too() -> None:
    tensor = ModelTensor(name="v", data_type="FLOAT32", shape=(2,), data=np.array([1.0, 2.0], np.float32))
    output = MLOutput(inference_results=(ModelTensors(output=(tensor,), status_code=200),))
    guard = InterfaceGuard()
    guard.judge(_model(output={"type": "object", "required": ["inference_results"]}), output)
    guard.judge(_model(), output)
    with pytest.raises(InvalidRequest, match="Error validating output schema") as refused:
        guard.judge(_model(output={"required": ["zzz"]}), output)
    assert '{"name":"v","data_type":"FLOAT32","shape":[2],"data":[1.0,2.0]}],"status_code":200' in refused.value.reason


async def test_a_broken_schema_says_so() -> None:
    assert "not JSON" in await _refusal(_model(input="{"), TextDocsInput(text_docs=("a",)))
    assert "not a JSON schema" in await _refusal(_model(input={"type": 7}), TextDocsInput(text_docs=("a",)))
