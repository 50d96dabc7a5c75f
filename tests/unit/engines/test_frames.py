"""The codec between application and inference process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bridge.engines import frames
from bridge.engines.session import Output, Said

ARRAYS = st.sampled_from(list("fdqib")).flatmap(
    lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
NAMES = st.text(max_size=5)
MAPS = st.dictionaries(NAMES, st.lists(st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False))))
TENSORS = st.one_of(
    st.none(),
    st.builds(Output, NAMES, ARRAYS, st.booleans()),
    st.builds(Said, st.none() | NAMES, st.none() | NAMES, st.none() | MAPS),
)
ROWS = st.lists(st.lists(TENSORS, max_size=3), max_size=4)


def same(first, second):
    assert len(first) == len(second)
    for row, other in zip(first, second, strict=True):
        assert len(row) == len(other)
        for a, b in zip(row, other, strict=True):
            assert (a is None) == (b is None)
            assert isinstance(a, Said) == isinstance(b, Said)
            if isinstance(a, Said):
                assert a == b
            elif a is not None:
                assert a.with_bytes == b.with_bytes
                assert a.name == b.name and a.array.dtype == b.array.dtype
                np.testing.assert_array_equal(a.array, b.array)


@given(ROWS)
def test_what_is_packed_comes_out_again(rows):
    packed = frames.pack(rows)
    same(rows, frames.unpack(packed.description, b"".join(packed.chunks)))
    assert packed.size == sum(len(chunk) for chunk in packed.chunks)


def test_equal_rows_are_described_once_and_are_views():
    rows = [[Output("sentence_embedding", np.full(384, n, np.float32))] for n in range(32)]
    packed = frames.pack(rows)
    assert packed.description == {
        "n": 32,
        "tensors": [{"name": "sentence_embedding", "data_type": "FLOAT32", "shape": [384]}],
    }
    payload = b"".join(packed.chunks)
    assert len(payload) == 32 * 384 * 4
    found = frames.unpack(packed.description, payload)[7][0]
    assert found is not None and found.array.base is not None and not found.array.flags.owndata


def test_big_endian_arrays_travel_as_little_endian():
    packed = frames.pack([[Output("x", np.array([1, 2], dtype=">f4"))]])
    assert b"".join(packed.chunks) == np.array([1, 2], dtype="<f4").tobytes()


@given(ROWS.filter(any), st.integers(1, 9))
def test_a_payload_of_the_wrong_size_is_refused(rows, extra):
    packed = frames.pack(rows)
    payload = b"".join(packed.chunks)
    with pytest.raises(frames.BadFrame):
        frames.unpack(packed.description, payload + b"x" * extra)


@given(st.dictionaries(st.text(), st.integers(0, 9)), st.integers(0, 1000))
def test_headers_round_trip(header, size):
    data = frames.encode(header, size)
    head_size, payload_size = frames.sizes(data[: frames.PREFIX.size])
    assert payload_size == size and frames.header(data[frames.PREFIX.size :]) == header
    assert head_size == len(data) - frames.PREFIX.size


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff", b""])
def test_headers_that_are_no_objects_are_refused(data):
    with pytest.raises(frames.BadFrame):
        frames.header(data)


def test_sizes_beyond_the_limits_are_refused():
    for head, payload in ((frames.MAX_HEADER + 1, 0), (0, frames.MAX_PAYLOAD + 1)):
        with pytest.raises(frames.BadFrame):
            frames.sizes(frames.PREFIX.pack(head, payload))
    with pytest.raises(frames.BadFrame):
        frames.sizes(b"abc")
    with pytest.raises(frames.BadFrame):
        frames.encode({}, frames.MAX_PAYLOAD + 1)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda s: st.lists(s) | st.dictionaries(st.text(max_size=6), s)
    )
)
def test_any_description_is_read_or_refused(value):
    try:
        frames.unpack({"n": 1, "tensors": value}, b"abcd")
        frames.unpack({"rows": value}, b"abcd")
    except frames.BadFrame:
        return
    assert not value
