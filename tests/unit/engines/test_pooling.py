"""Pooling against the formulas written out as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.domain.names import PoolingMode
from bridge.engines.pooling import normalized, pool

VALUES = st.floats(-100, 100, width=32)


@st.composite
def batches(draw):
    texts, tokens, dimension = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5)))
    hidden = draw(hnp.arrays(np.float32, (texts, tokens, dimension), elements=VALUES))
    lengths = draw(st.lists(st.integers(1, tokens), min_size=texts, max_size=texts))
    mask = np.array([[1] * n + [0] * (tokens - n) for n in lengths], dtype=np.int64)
    return hidden, mask, lengths


def naive(mode: PoolingMode, tokens: list[list[float]]) -> list[float]:
    size, count = len(tokens[0]), len(tokens)
    column = [[token[d] for token in tokens] for d in range(size)]
    if mode is PoolingMode.MEAN:
        return [sum(c) / count for c in column]
    if mode is PoolingMode.MEAN_SQRT_LEN:
        return [sum(c) / math.sqrt(count) for c in column]
    if mode is PoolingMode.WEIGHTED_MEAN:
        weight = sum(range(1, count + 1))
        return [sum(n * value for n, value in enumerate(c, 1)) / weight for c in column]
    if mode is PoolingMode.MAX:
        return [max(c) for c in column]
    return tokens[0] if mode is PoolingMode.CLS else tokens[-1]


@pytest.mark.parametrize("mode", [mode for mode in PoolingMode if mode is not PoolingMode.NONE])
@given(batch=batches())
def test_pooling_is_the_formula_over_real_tokens_only(mode, batch):
    hidden, mask, lengths = batch
    pooled = pool(mode, hidden, mask)
    expected = [naive(mode, hidden[n, :length].astype(float).tolist()) for n, length in enumerate(lengths)]
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mode", [mode for mode in PoolingMode if mode is not PoolingMode.NONE])
@given(batch=batches(), garbage=VALUES)
def test_what_is_padded_has_no_influence(mode, batch, garbage):
    hidden, mask, _ = batch
    dirty = np.where(mask[:, :, None] == 0, np.float32(garbage), hidden)
    np.testing.assert_array_equal(pool(mode, hidden, mask), pool(mode, dirty, mask))


def test_none_pools_nothing():
    with pytest.raises(ValueError, match="does not pool"):
        pool(PoolingMode.NONE, np.zeros((1, 1, 1), np.float32), np.ones((1, 1), np.int64))


def test_a_text_without_tokens_gives_finite_numbers():
    hidden, mask = np.ones((1, 2, 3), np.float32), np.zeros((1, 2), np.int64)
    for mode in (PoolingMode.MEAN, PoolingMode.MEAN_SQRT_LEN, PoolingMode.WEIGHTED_MEAN, PoolingMode.LAST_TOKEN):
        assert np.isfinite(pool(mode, hidden, mask)).all()


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1000, 1000, width=32)))
def test_normalized_rows_have_length_one_and_keep_their_direction(vectors):
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for row, original, length in zip(normalized(vectors), vectors, lengths, strict=True):
        if length > 1e-6:
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-4)
            np.testing.assert_allclose(row * length, original, rtol=1e-3, atol=1e-3)


def test_a_zero_vector_stays_zero():
    assert not normalized(np.zeros((1, 3), np.float32)).any()
