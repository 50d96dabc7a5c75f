"""Places of values in bodies: found wherever they stand, whatever stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.rest.shapes import MODEL, MODEL_META, place_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
SPACES = st.sampled_from(["", " ", "\n", " \r\n\t"])


@given(
    before=st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    value=JSON,
    after=st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    space=SPACES,
    escaped=st.booleans(),
)
def test_a_value_is_found_where_it_stands(
    before: dict[str, Any], value: Any, after: dict[str, Any], space: str, escaped: bool
) -> None:
    def member(name: str, inner: Any) -> str:
        text = json.dumps(inner, ensure_ascii=escaped)
        return f"{json.dumps(name, ensure_ascii=escaped)}{space}:{space}{text}"

    members = [*(member(n, v) for n, v in before.items() if n != "wanted"), None]
    tail = [member(n, v) for n, v in after.items() if n not in before and n != "wanted"]
    head = "{" + "".join(f"{space}{one}{space}," for one in members[:-1]) + f'{space}"wanted"{space}:{space}'
    written = json.dumps(value, ensure_ascii=escaped)
    text = head + written + "".join(f"{space},{one}" for one in tail) + space + "}"
    place = place_of(text.encode(), "wanted")
    lines = head.encode().split(b"\n")
    assert (place.line, place.column) == (len(lines), len(lines[-1]) + 1)
    assert place.after - place.column == (1 if isinstance(value, dict | list) else len(written.encode()))
    assert place_of(text.encode(), "not there") == place_of(b"{}", "not there")


def test_the_first_wrong_field_of_the_body_is_the_one_that_is_told() -> None:
    raw = b'{"description": [], "name": null}'
    with pytest.raises(InvalidRequest, match=r"Can't get text on a START_ARRAY at 1:17"):
        MODEL.check(raw, json.loads(raw))


def test_items_and_scalars_have_places_of_their_own() -> None:
    raw = b'{"backend_roles": ["a",\n  {"b": 1}], "total_chunks": 1}'
    with pytest.raises(InvalidRequest, match=r"START_OBJECT at 2:3"):
        MODEL_META.check(raw, json.loads(raw))
    raw = b'{"total_chunks": true}'
    with pytest.raises(InvalidRequest, match=r"VALUE_TRUE\) not numeric(?s:.*)line: 1, column: 22\]") as refused:
        MODEL_META.check(raw, json.loads(raw))
    assert refused.value.kind == "json_parse_exception"
    MODEL.check(b'{"is_enabled": "true", "name": 5, "x": null}', {"is_enabled": "true", "name": 5, "x": None})
