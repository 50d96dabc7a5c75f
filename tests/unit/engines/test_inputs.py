"""Predict inputs as JSON, between processes and nodes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.tensor import QuestionAnsweringInput, TextDocsInput, TextSimilarityInput
from bridge.engines import inputs
from bridge.engines.faults import EngineFault, FaultCode

TEXTS = st.lists(st.text(st.characters(codec="utf-8")), max_size=4).map(tuple)
TEXT = st.text(st.characters(codec="utf-8"))
INPUTS = st.one_of(
    st.builds(
        TextDocsInput,
        text_docs=TEXTS,
        return_number=st.booleans(),
        return_bytes=st.booleans(),
        target_response=TEXTS,
        target_response_positions=st.lists(st.integers(-9, 99)).map(tuple),
        kind=st.none() | st.sampled_from(["query", "passage"]),
        token_ids=st.booleans(),
    ),
    st.builds(TextSimilarityInput, query_text=TEXT, text_docs=TEXTS),
    st.builds(QuestionAnsweringInput, question=TEXT, context=TEXT),
)


@given(INPUTS)
def test_an_input_survives_its_json(input):
    assert inputs.from_json({**orjson.loads(orjson.dumps(inputs.to_json(input))), "seconds": 3}) == input


@given(st.text(st.characters()))
def test_halves_of_surrogate_pairs_are_replaced(text):
    whole = not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
    for asked in (TextDocsInput(text_docs=(text,)), QuestionAnsweringInput(question=text, context=text)):
        written = orjson.dumps(inputs.to_json(asked))
        assert (inputs.from_json(orjson.loads(written)) == asked) == whole


@pytest.mark.parametrize("value", [{}, {"text": ["a"]}, {"question": "a"}, {"query_text": "a", "model_id": "m"}])
def test_what_is_no_input_is_refused(value):
    with pytest.raises(EngineFault) as caught:
        inputs.from_json(value)
    assert caught.value.code is FaultCode.BAD_INPUT
