"""Documents go out as they came in, but for what was changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.processors.source import read

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5), st.sampled_from([None, 1, 3]))
def test_every_member_is_the_same_bytes(document: dict[str, object], indent: int | None) -> None:
    members = {name: json.dumps(value, indent=indent) for name, value in document.items()}
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"
    source = read(f" {text}\n".encode())
    assert source.encode(source.fields).decode() == text
    assert json.loads(source.encode({**source.fields, "new field": [1]})) == {**document, "new field": [1]}


def test_odd_numbers_and_escapes_survive() -> None:
    text = b'{"n":12345678901234567890123,"e":1e400,"f":1.10,"s":"\\u00e9\\/","b":"x"}'
    source = read(text)
    assert source.encode({**source.fields, "b": "y"}) == text.replace(b'"x"', b'"y"')


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"5",
        b'{"a":',
        b"{a:1}",
        b'{"a":1,}',
        b'{"a":1} x',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a" 1}',
        b'{"a":1 "b":2}',
        b"\xff",
        b'{"a":NaN',
    ],
)
def test_what_is_no_object_is_refused(bad: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(bad)
    assert (caught.value.kind, caught.value.reason) == ("parse_exception", "Failed to parse content to map")
