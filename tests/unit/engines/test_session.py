"""ModelSpec, padding, and the one model file of a folder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.engines.session import Encoded, Inputs, ModelSpec, model_file

SPECS = st.builds(
    ModelSpec,
    function_name=st.sampled_from(FunctionName),
    model_format=st.sampled_from(ModelFormat),
    model_type=st.none() | st.text(min_size=1),
    framework_type=st.sampled_from(FrameworkType),
    embedding_dimension=st.none() | st.integers(1, 4096),
    pooling_mode=st.none() | st.sampled_from(PoolingMode),
    normalize_result=st.none() | st.booleans(),
    query_prefix=st.none() | st.text(),
    passage_prefix=st.none() | st.text(),
)


@given(SPECS)
def test_a_spec_survives_its_dict(spec):
    assert ModelSpec.from_dict(spec.to_dict()) == spec


def test_a_model_config_is_read_in_any_case_with_what_it_does_not_know():
    spec = ModelSpec.from_dict({"pooling_mode": "cls", "framework_type": "sentence_transformers", "all_config": "{}"})
    assert spec.pooling_mode is PoolingMode.CLS and spec.normalize_result is None
    assert ModelSpec.from_dict({}).pooling_mode is None
    with pytest.raises(ValueError, match="WEIRD"):
        ModelSpec.from_dict({"pooling_mode": "weird"})


@given(st.lists(st.lists(st.integers(0, 1000), max_size=8), min_size=1, max_size=5), st.integers(0, 9))
def test_padding_keeps_every_id_and_masks_the_rest(texts, pad):
    inputs = Inputs.padded([Encoded(ids, [1] * len(ids)) for ids in texts], pad)
    assert inputs.input_ids.shape == (len(texts), max(1, *map(len, texts), 0))
    for row, ids in enumerate(texts):
        real = inputs.attention_mask[row] == 1
        assert inputs.input_ids[row][real].tolist() == ids and (inputs.input_ids[row][~real] == pad).all()
        np.testing.assert_array_equal(inputs.token_type_ids[row], inputs.attention_mask[row])


def test_exactly_one_model_file_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="Can't find model file"):
        model_file(tmp_path, ".onnx")
    (tmp_path / "a.onnx").touch()
    assert model_file(tmp_path, ".onnx").name == "a.onnx"
    (tmp_path / "b.onnx").touch()
    with pytest.raises(ValueError, match="Expected 1"):
        model_file(tmp_path, ".onnx")
