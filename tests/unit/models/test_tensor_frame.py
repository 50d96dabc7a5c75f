"""Predict answers between two nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors
from bridge.errors import Unavailable
from bridge.models import tensor_frame

NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
WEIGHTS = st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False, width=32))


@st.composite
def tensors(draw: st.DrawFn) -> ModelTensor:
    if draw(st.booleans()):
        maps = st.none() | WEIGHTS.map(lambda weights: {"response": [weights]})
        return ModelTensor(name=draw(st.none() | NAMES), result=draw(st.none() | NAMES), data_as_map=draw(maps))
    array = draw(hnp.arrays(draw(st.sampled_from([np.float32, np.int64])), hnp.array_shapes(max_dims=3, max_side=3)))
    return ModelTensor(
        name=draw(NAMES),
        data_type="FLOAT32" if array.dtype == np.float32 else "INT64",
        shape=array.shape,
        data=array.reshape(-1),
        byte_buffer=array.tobytes() if draw(st.booleans()) else None,
    )


OUTPUTS = st.lists(st.lists(tensors(), max_size=3), max_size=3).map(
    lambda rows: MLOutput(inference_results=tuple(ModelTensors(output=tuple(row)) for row in rows))
)


@given(OUTPUTS)
def test_an_answer_survives_the_way(output: MLOutput) -> None:
    found = tensor_frame.decode(tensor_frame.encode(output))
    assert len(found.inference_results) == len(output.inference_results)
    for row, other in zip(output.inference_results, found.inference_results, strict=True):
        for a, b in zip(row.output, other.output, strict=True):
            assert (a.name, a.data_type, a.shape, a.byte_buffer, a.result, a.data_as_map) == (
                (b.name, b.data_type, b.shape, b.byte_buffer, b.result, b.data_as_map)
            )
            assert (a.data is None) == (b.data is None)
            if a.data is not None:
                np.testing.assert_array_equal(a.data, b.data)


@given(OUTPUTS.filter(lambda output: output.inference_results), st.integers(1, 30))
def test_a_cut_answer_is_noticed_or_was_not_needed(output: MLOutput, cut: int) -> None:
    frame = tensor_frame.encode(output)
    has_data = any(t.data is not None and t.data.size for row in output.inference_results for t in row.output)
    if has_data or cut > len(frame) - 8:
        with pytest.raises(Unavailable):
            tensor_frame.decode(frame[:-cut])


@pytest.mark.parametrize(
    "frame", [b"", b"\x01", b"\x02\x00\x00\x00{}", b"\x05\x00\x00\x00[[1]]", b"\xff\xff\xff\xff[]"]
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(Unavailable):
        tensor_frame.decode(frame)
