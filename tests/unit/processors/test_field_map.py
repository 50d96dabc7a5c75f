"""Where texts stand and where vectors go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.processors.field_map import embed, tree_of


def run(document: dict[str, Any], field_map: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    texts: list[str] = []

    def take(text: str, where: Any) -> Any:
        texts.append(text)
        return f"<{text}>"

    return embed(document, tree_of(field_map), take), texts


@pytest.mark.parametrize(
    ("document", "field_map", "expected"),
    [
        ({"title": "hello"}, {"title": "v"}, {"title": "hello", "v": "<hello>"}),
        ({"title": "  "}, {"title": "v"}, {"title": "  "}),
        ({"title": None}, {"title": "v"}, {"title": None}),
        ({}, {"title": "v"}, {}),
        ({"m": {"t": "x"}}, {"m": {"t": "v"}}, {"m": {"t": "x", "v": "<x>"}}),
        ({"m": {"t": "x"}}, {"m.t": "v"}, {"m": {"t": "x", "v": "<x>"}}),
        ({"m": {"t": "x"}}, {"m.t": "m.v"}, {"m": {"t": "x", "m": {"v": "<x>"}}}),
        (
            {"parts": [{"name": "a"}, {"name": "b"}, {"z": 1}]},
            {"parts": {"name": "vec"}},
            {"parts": [{"name": "a", "vec": "<a>"}, {"name": "b", "vec": "<b>"}, {"z": 1}]},
        ),
        ({"parts": [{"name": "a"}]}, {"parts.name": "vec"}, {"parts": [{"name": "a", "vec": "<a>"}]}),
        ({"m.t": "x"}, {"m.t": "v"}, {"m": {"t": "x", "v": "<x>"}}),
        ({"m.t": "x", "m": {"a": 1}}, {"m.t": "v"}, {"m": {"t": "x", "a": 1, "v": "<x>"}}),
        ({"m": {"a": 1}, "m.t": "x"}, {"m.t": "v"}, {"m": {"t": "x", "a": 1, "v": "<x>"}}),
        ({"title": "hello", "v": [9, 9]}, {"title": "v"}, {"title": "hello", "v": "<hello>"}),
        ({"t": ["a", ""]}, {"t": "v"}, {"t": ["a", ""], "v": [{"knn": "<a>"}, {"knn": "<>"}]}),
        ({"t": []}, {"t": "v"}, {"t": []}),
        ({"a.b": "kept", "t": "x"}, {"t": "v"}, {"a.b": "kept", "t": "x", "v": "<x>"}),
        ({"t": "x"}, {"t": "o.v"}, {"t": "x", "o": {"v": "<x>"}}),
    ],
)
def test_vectors_stand_beside_their_texts(document: Any, field_map: Any, expected: Any) -> None:
    assert run(document, field_map)[0] == expected


@pytest.mark.parametrize(
    ("document", "field_map", "reason"),
    [
        ({"n": 5}, {"n": "v"}, "map type field [n] is neither string nor nested type, cannot process it"),
        (
            {"m": {"a": "x"}},
            {"m": "v"},
            (
                "[m] configuration doesn't match actual value type, configuration type is: java.lang.String, "
                "actual value type is: java.util.HashMap"
            ),
        ),
        ({"t": ["a", None]}, {"t": "v"}, "list type field [t] has null, cannot process it"),
        ({"t": ["a", 1]}, {"t": "v"}, "list type field [t] has non string value, cannot process it"),
        ({"t": [["a"]]}, {"t": "v"}, "list type field [t] is nested list type, cannot process it"),
    ],
)
def test_what_is_no_text_is_refused_with_the_real_servers_words(document: Any, field_map: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(document, field_map)
    assert caught.value.reason == reason


@pytest.mark.parametrize("bad", [{}, {"": "v"}, {"a": ""}, {"a": 5}, {"a.b.": "c"}, {"a": {}}, {"a": "b", "a.c": "d"}])
def test_unusable_field_maps_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError):
        tree_of(bad)


names = st.sampled_from("abcdefg")
leaves = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(names, s, max_size=3), max_leaves=8)
documents = st.dictionaries(names, values, max_size=6)


@given(documents, st.dictionaries(names, names.map(lambda n: f"v_{n}"), min_size=1, max_size=3))
def test_a_field_not_named_stays_the_same_object(document: dict[str, Any], field_map: dict[str, str]) -> None:
    try:
        found, texts = run(document, field_map)
    except InvalidRequest:
        return
    for name, value in document.items():
        assert found[name] is value
    assert set(found) - set(document) <= set(field_map.values())
    in_order = [document[name] for name in field_map if name in document]
    flat = [t for v in in_order for t in (v if isinstance(v, list) else [v] if str(v or "").strip() else [])]
    assert texts == flat
    for name, target in field_map.items():
        value = document.get(name)
        if isinstance(value, str) and value.strip():
            assert found[target] == f"<{value}>"
