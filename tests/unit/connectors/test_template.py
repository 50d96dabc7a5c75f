"""Templates of connectors: recorded cases of the reference, and that no value breaks out of its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.connectors.template import Values, fill_body, fill_header, fill_url
from bridge.errors import InvalidRequest

BODY = '{"input": "${parameters.input}", "n": ${parameters.n:-5}, "opt": "${parameters.opt:-null}"}'
OPENAI = '{"input": ${parameters.input}, "model": "${parameters.model}"}'


def filled(template: str, own: dict[str, str] | None = None, **given: Any) -> Any:
    return json.loads(fill_body(template, Values(own=own or {}, given=given)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input": 'he said "hi" \\ tab\t nl\n end é / ☃'}, 'he said "hi" \\ tab\t nl\n end é / ☃'),
        ({"input": None, "n": "7"}, "null"),
        ({"input": True}, "true"),
        ({"input": {"a": 1}}, '{"a":1}'),
        ({"input": '{"a":1}'}, '{"a":1}'),
        ({"input": "${parameters.model}"}, "${parameters.model}"),
        ({"input": "${parameters.zzz}"}, "${parameters.zzz}"),
        ({"input": 'he said \\"pre-escaped\\"', "no_escape_params": "path,input"}, 'he said "pre-escaped"'),
        ({"input": 'not "escaped', "no_escape_params": "input"}, 'not "escaped'),
    ],
)
def test_what_stands_between_quotes_is_escaped_once(given: dict[str, Any], expected: str) -> None:
    body = filled(BODY, {"model": "m1"}, **given)
    assert body == {"input": expected, "n": int(given.get("n", 5)), "opt": None}


def test_outside_of_quotes_stands_one_json_value() -> None:
    assert filled(OPENAI, {"model": "m1"}, input=["a", 'b"']) == {"input": ["a", 'b"'], "model": "m1"}
    assert filled(OPENAI, {"model": "m1"}, input='["a"]')["input"] == ["a"]
    assert filled(OPENAI, {"model": "m1"}, input="3.50")["input"] == 3.5
    assert filled('{"a": ${parameters.a.toString()}}', {}, a=["x"]) == {"a": '["x"]'}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"input": "plain text"}, 'Invalid payload: {"input": plain text, "model": "m1"}'),
        ({"foo": 1}, 'Invalid payload: {"input": ${parameters.input}, "model": "m1"}'),
        ({"input": '1, "model": "mine"'}, 'Invalid payload: {"input": 1, "model": "mine", "model": "m1"}'),
    ],
)
def test_what_is_no_payload_is_refused_as_ml_commons_words_it(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fill_body(OPENAI, Values(own={"model": "m1"}, given=given))
    assert refused.value.reason == reason


def test_a_quoted_placeholder_without_value_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        fill_body('{"a":"${parameters.x} ${parameters.y}"}', Values())
    assert refused.value.reason == "Some parameter placeholder not filled in payload: x, y"
    assert json.loads(fill_body('{"a":"${parameters.x}"}', Values(), check=False)) == {"a": "${parameters.x}"}


def test_authors_may_nest_placeholders() -> None:
    own = {"prompt": "Answer ${parameters.q} from ${parameters.docs.toString()}", "model": "m1"}
    body = filled('{"p":"${parameters.prompt}"}', own, q='a "b" ${parameters.model}', docs=["x", 'y"'])
    assert body == {"p": 'Answer a "b" ${parameters.model} from ["x","y\\""]'}
    authored = Values(
        given={"prompt": "Summarize: ${parameters.context.toString()}", "context": ['a\n"b"']},
        templates=frozenset(["prompt"]),
    )
    assert json.loads(fill_body('{"p":"${parameters.prompt}"}', authored)) == {"p": 'Summarize: ["a\\n\\"b\\""]'}


def test_authors_may_escape_their_own_parameters_or_not() -> None:
    for written in ("line\nnext", "line\\nnext"):
        assert filled('{"p":"${parameters.p}"}', {"p": written}) == {"p": "line\nnext"}
    chain = '{"messages":[${parameters.history:-}{"role":"user"}]}'
    assert filled(chain, {"history": '{"role":"system"},'}) == {"messages": [{"role": "system"}, {"role": "user"}]}
    assert filled(chain) == {"messages": [{"role": "user"}]}


def test_a_parameter_that_needs_itself_is_refused() -> None:
    for template in ('{"a":"${parameters.x}"}', '{"a":${parameters.x}}'):
        with pytest.raises(InvalidRequest, match="refers to itself"):
            fill_body(template, Values(own={"x": "${parameters.y}", "y": "${parameters.x}"}))


def test_lines_of_json_are_a_payload() -> None:
    assert fill_body('{"a":${parameters.n}}\n{"b":2}\n', Values(given={"n": 1})) == '{"a":1}\n{"b":2}\n'


def test_urls_keep_values_in_their_part() -> None:
    values = Values(own={"host": "api.example.com", "v": "v1"}, given={"q": "a/b?c#d@e", "path": "/x/y?z=1"})
    assert fill_url("https://${parameters.host}/${parameters.v}?q=${parameters.q}", values) == (
        "https://api.example.com/v1?q=a%2Fb%3Fc%23d%40e"
    )
    raw = Values(given={"path": "/x/y?z=1 \n", "no_escape_params": "path"})
    assert fill_url("https://h${parameters.path}", raw) == "https://h/x/y?z=1%20%0A"


def test_headers_know_no_request() -> None:
    assert fill_header("Bearer ${credential.key} ${parameters.m}", {"m": "x"}, {"key": "s"}) == "Bearer s x"


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.sampled_from(['"', "\\", "${parameters.b}"]))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(
    quoted=st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, min_size=1),
    whole=st.dictionaries(st.sampled_from(["x", "y"]), VALUES.filter(lambda value: not isinstance(value, str))),
)
def test_no_value_breaks_out_of_its_place(quoted: dict[str, Any], whole: dict[str, Any]) -> None:
    parts = [f'"{name}": "before ${{parameters.{name}}} after"' for name in quoted]
    parts += [f'"{name}": [${{parameters.{name}}}, 1]' for name in whole]
    body = json.loads(fill_body("{" + ", ".join(parts) + "}", Values(given={**quoted, **whole})))
    assert list(body) == [*quoted, *whole]
    for name, value in quoted.items():
        inner = body[name].removeprefix("before ").removesuffix(" after")
        assert inner == value if isinstance(value, str) else json.loads(inner) == value
    for name, value in whole.items():
        assert body[name] == [value, 1]
