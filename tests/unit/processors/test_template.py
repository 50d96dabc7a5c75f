"""Templates as trees: whatever a value is, the JSON around it stays as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.processors.model_call import with_config
from bridge.processors.template import Template, Unfillable, json_text
from bridge.wire import dumps_exact, loads_exact

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "input_map.text", "ext.ml_inference.x"])
HOSTILE = st.sampled_from(
    ['"', '","x":"', "\\", '"}', "${a}", "${b}", '{"x":1}', "[1,2", "\u0000", "null", "1e400", "\ud800"]
)


@st.composite
def filled(draw: st.DrawFn) -> tuple[str, Any, dict[str, Any]]:
    """A template's text, the value it must give, and the values of its places."""
    values: dict[str, Any] = {}

    def node(depth: int) -> tuple[str, Any]:
        kind = draw(st.integers(0, 5 if depth < 3 else 3))
        if kind == 0:
            constant = draw(st.none() | st.booleans() | st.integers() | st.text(alphabet='abc \\"{}\n', max_size=6))
            return json.dumps(constant), constant
        name = draw(NAMES)
        value = values.setdefault(name, draw(VALUES | HOSTILE))
        if kind == 1:
            return f"${{{name}}}", _as_json(value)
        if kind in (2, 3):
            before, after = draw(st.text(alphabet="ab ,:{}", max_size=4)), draw(st.text(alphabet="ab ,:{}", max_size=4))
            return f"{json.dumps(before)[:-1]}${{{name}}}{json.dumps(after)[1:]}", before + json_text(value) + after
        parts = [node(depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if kind == 4:
            return "[" + ",".join(text for text, _ in parts) + "]", [value for _, value in parts]
        members = {f"k{at}": part for at, part in enumerate(parts)}
        text = ",".join(f'"{key}": {part[0]}' for key, part in members.items())
        return "{" + text + "}", {key: part[1] for key, part in members.items()}

    text, expected = node(0)
    return text, expected, values


def _as_json(value: Any) -> Any:
    """A text outside of quotes that is JSON stands for that JSON."""
    if not isinstance(value, str):
        return value
    try:
        return loads_exact(value)
    except Exception:  # any text that is none
        return value


@given(filled())
def test_a_value_never_leaves_its_place(case: tuple[str, Any, dict[str, Any]]) -> None:
    text, expected, values = case
    assert Template(text).fill(values) == expected


@given(VALUES | HOSTILE)
def test_texts_stay_texts_where_texts_are_meant(value: Any) -> None:
    template = Template('{"text_docs": ${a}, "query_text": "${a}"}', texts=frozenset(["text_docs"]))
    found = template.fill({"a": value})
    assert found == {"text_docs": value, "query_text": json_text(value)}
    assert json.loads(dumps_exact(found)) == json.loads(json.dumps(found))


def test_names_without_a_value_stay_between_quotes_and_fail_outside_of_them() -> None:
    assert Template('{"a": "x ${y} ${z:-d}"}').fill({}) == {"a": "x ${y} d"}
    assert Template('{"a": ${y:-[1]}}').fill({}) == {"a": [1]}
    with pytest.raises(Unfillable):
        Template('{"a": ${y}}').fill({})


def test_only_wanted_names_are_places() -> None:
    template = Template('{"a": "${parameters.x} ${input_map.x}"}', wanted=lambda name: name.startswith("input_map."))
    assert template.fill({"input_map.x": "1", "parameters.x": "2"}) == {"a": "${parameters.x} 1"}


def test_places_in_keys() -> None:
    assert Template('{"${k}": 1, ${k}: 2}').fill({"k": '"x'}) == {'"x': 2}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1${b}}', '{"a": ${b}${c}}', "${a} ${b}", '{"a": "${b}}'])
def test_what_is_no_json_with_its_places_filled_can_not_be_filled(text: str) -> None:
    template = Template(text)
    assert not template.readable
    with pytest.raises(Unfillable):
        template.fill({"a": 1, "b": 2, "c": 3})
    assert "${b}" not in template.plain({"b": 2})


def test_what_values_hold_is_not_read_again() -> None:
    assert Template('{"a": "${x}", "b": ${x}}').fill({"x": "${y}", "y": "no"}) == {"a": "${y}", "b": "${y}"}


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ('{"p": "${model_config.k}"}', {"k": "v"}, {"p": "v"}),
        ('{"p": ${model_config.k}}', {"k": '{"x": 1}'}, {"p": {"x": 1}}),
        ('{"p": "${model_config.k}"}', {"k": 'say \\"hi\\"'}, {"p": 'say "hi"'}),
        ('{"p": "${model_config.k}"}', {"k": 'say "hi"'}, {"p": 'say "hi"'}),
        ('{"p": "${model_config.k}"}', {"k": "Q: ${input_map.q}"}, {"p": "Q: ${input_map.q}"}),
        ('{"p": "${model_config.other}"}', {"k": "v"}, {"p": "${model_config.other}"}),
    ],
)
def test_the_configuration_counts_as_its_author_wrote_it(text: str, config: dict[str, str], expected: Any) -> None:
    assert json.loads(with_config(text, config)) == expected
