"""Token vectors to one vector per text. Array functions only; formulas of ML Commons' embedding translators.

`hidden` is float32 [texts, tokens, dimension], `mask` int64 [texts, tokens] with ones first (padding on the right).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.domain.names import PoolingMode

Floats = NDArray[np.float32]
Mask = NDArray[np.int64]

_SMALLEST = np.float32(1e-9)


def _weighted(hidden: Floats, weights: Floats) -> Floats:
    total: Floats = np.matmul(weights[:, None, :], hidden)[:, 0, :]
    return total


def mean(hidden: Floats, mask: Mask) -> Floats:
    """Sum of the real tokens' vectors over their count."""
    weights = mask.astype(np.float32)
    return _weighted(hidden, weights / np.maximum(weights.sum(1, keepdims=True), _SMALLEST))


def mean_sqrt_len(hidden: Floats, mask: Mask) -> Floats:
    """Sum of the real tokens' vectors over the square root of their count."""
    weights = mask.astype(np.float32)
    return _weighted(hidden, weights / np.sqrt(np.maximum(weights.sum(1, keepdims=True), _SMALLEST)))


def weighted_mean(hidden: Floats, mask: Mask) -> Floats:
    """Mean in which the n-th token, counted from 1, weighs n."""
    weights = mask.astype(np.float32) * np.arange(1, mask.shape[1] + 1, dtype=np.float32)
    return _weighted(hidden, weights / np.maximum(weights.sum(1, keepdims=True), _SMALLEST))


def maximum(hidden: Floats, mask: Mask) -> Floats:
    """Largest value of each dimension over the real tokens; -1e9 where there are none, as the reference."""
    found: Floats = np.where(mask[:, :, None] == 0, np.float32(-1e9), hidden).max(1)
    return found


def cls(hidden: Floats, mask: Mask) -> Floats:
    """The first token's vector."""
    first: Floats = hidden[:, 0, :]
    return first


def last_token(hidden: Floats, mask: Mask) -> Floats:
    """The last real token's vector (the first one of a text without tokens)."""
    last = np.maximum(mask.sum(1) - 1, 0)
    found: Floats = hidden[np.arange(hidden.shape[0]), last, :]
    return found


_BY_MODE = {
    PoolingMode.MEAN: mean,
    PoolingMode.MEAN_SQRT_LEN: mean_sqrt_len,
    PoolingMode.WEIGHTED_MEAN: weighted_mean,
    PoolingMode.MAX: maximum,
    PoolingMode.CLS: cls,
    PoolingMode.LAST_TOKEN: last_token,
}


def pool(mode: PoolingMode, hidden: Floats, mask: Mask) -> Floats:
    """One float32 vector per text, [texts, dimension]. Raises ValueError for NONE, which pools nothing."""
    if mode not in _BY_MODE:
        raise ValueError(f"{mode} does not pool")
    return np.ascontiguousarray(_BY_MODE[mode](hidden, mask), dtype=np.float32)


def normalized(vectors: Floats) -> Floats:
    """Each row divided by its Euclidean length; a zero row stays zero."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: Floats = vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
    return scaled
