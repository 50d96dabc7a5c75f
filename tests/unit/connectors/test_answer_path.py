"""Paths into answers: the outcomes recorded from the reference, and that no path takes long."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.connectors.answer_path import found_at
from bridge.connectors.answer_steps import MOST_WORK, Work
from bridge.errors import EngineError, InvalidRequest

ANSWER = {"a": {"b": 5}, "l": [{"a": 1}, {"a": 2}], "n": None, "s": "text", "e": [], "b": True}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", ANSWER),
        ("a.b", 5),
        ("@.a", {"b": 5}),
        ("$.n", None),
        ("$['a']['b']", 5),
        ("$['a','zz']", {"a": {"b": 5}}),
        ("$.l[0]", {"a": 1}),
        ("$.l[-1]", {"a": 2}),
        ("$.l[0,7]", [{"a": 1}]),
        ("$.l[0:1]", [{"a": 1}]),
        ("$.l[1:]", [{"a": 2}]),
        ("$.l[*].a", [1, 2]),
        ("$.l[*].zz", []),
        ("$.l[*].zz.y", []),
        ("$.l[*][0]", []),
        ("$.l[?(@.a==1)]", [{"a": 1}]),
        ("$.l[?(@.a==1)].a", [1]),
        ("$.l[?(@.zz==1)]", []),
        ("$.l[?(@.a > 1 && !@.b || @['a'] == ']')].a", [2]),
        ("$.s[*]", []),
        ("$.n[*]", []),
        ("$[*].x", []),
        ("$.a.*", [5]),
        ("$.a..b", [5]),
        ("$..a", [{"b": 5}, 1, 2]),
        ("$..zz", []),
        ("$..[0]", [{"a": 1}]),
        ("$..[?(@.a == 2)].a", [2]),
        ("$..*", [{"b": 5}, [{"a": 1}, {"a": 2}], None, "text", [], True, 5, {"a": 1}, {"a": 2}, 1, 2]),
    ],
)
def test_what_stands_at_a_path(path: str, found: Any) -> None:
    assert found_at(ANSWER, path) == found


PRINTED = '{a={b=5}, l=[{"a":1},{"a":2}], n=null, s=text, e=[], b=true}'
NO_OBJECT = (
    "Expected to find an object with property ['{}'] in path {} but found '{}'. This is not a json object according to"
    " the JsonProvider: 'com.jayway.jsonpath.spi.json.JsonSmartJsonProvider'."
)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("$.zz", "No results for path: $['zz']"),
        ("$.l[0].zz", "No results for path: $['l'][0]['zz']"),
        ("$.l[5].x", "No results for path: $['l'][5]['x']"),
        ("$.x-y", "No results for path: $['x-y']"),
        ("$.zz.a", "Missing property in path $['zz']"),
        ("$.zz[0]", "Missing property in path $['zz']"),
        ("$.zz[*].a", "Missing property in path $['zz']"),
        ("$.zz.*", "Missing property in path $['zz']"),
        ("$.zz[?(@.a==1)]", "Missing property in path $['zz']"),
        ("$.n[0]", "The path $['n'] is null"),
        ("$.a[0]", "Filter: [0] can only be applied to arrays. Current context is: {b=5}"),
        ("$.s[0].x", "Filter: [0]['x'] can only be applied to arrays. Current context is: text"),
        ("$[0]", "Filter: [0] can only be applied to arrays. Current context is: " + PRINTED),
        ("$.l.x", NO_OBJECT.format("x", "$['l']", "net.minidev.json.JSONArray")),
        ("$.n.x", NO_OBJECT.format("x", "$['n']", "null")),
        ("$.s.x", NO_OBJECT.format("x", "$['s']", "java.lang.String")),
        ("$.a.b.c", NO_OBJECT.format("c", "$['a']['b']", "java.lang.Integer")),
        ("$.b.zz", NO_OBJECT.format("zz", "$['b']", "java.lang.Boolean")),
        ("$.s[?(@.a)]", "Filter: [?] can not be applied to primitives. Current context is: text"),
    ],
)
def test_a_definite_path_that_leads_nowhere(path: str, reason: str) -> None:
    with pytest.raises(EngineError) as refused:
        found_at(ANSWER, path)
    assert refused.value.kind == "m_l_exception"
    assert refused.value.details["caused_by"]["reason"] == reason


@pytest.mark.parametrize(
    "path",
    [
        "", "$.", "$[", "$..", "$.l[:x]", "$.l[-:]", "$.l[0", "$['a'", "$.l.length()", "$a", "$.a b",
        "$.l[?(@.a =~ /x/)]",
        "$.l[?(@..a)]", "$.l[?(@.*)]", "$.l[?(@.a == @.b)]", "$.l[?(@.a == $.b)]", "$.l[?(@.a[?(@.b)])]", "$.l[?",
        "$[?()]",
        "$.l[?(@.`len`)]", "$" + ".a" * 600, "$..a..a..a",
    ],
)  # fmt: skip
def test_paths_that_are_not_run(path: str) -> None:
    with pytest.raises(InvalidRequest):
        found_at(ANSWER, path)


def test_no_path_is_for_an_answer_that_is_null() -> None:
    with pytest.raises(InvalidRequest, match=r"^json can not be null$"):
        found_at(None, "$.a")


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value, "b": [1]}
    return value


WIDE = {"l": [{"a": number} for number in range(300_000)]}
COSTLY: dict[str, tuple[Any, str]] = {
    "deep scans of a deep answer": (nested(400), "$..a..a"),
    "everything of everything": (nested(400), "$..*..*"),
    "results that hold each other": (nested(900), "$..*"),
    "the same again and again": ([[[[[1] * 50]]]], "$" + ("[" + ",".join(["0"] * 90) + "]") * 5),
    "a long text many times": (["x" * 10_000_000], "$[" + ",".join(["0"] * 400) + "]"),
    "many members": (WIDE, "$.l[*].a"),
    "many comparisons": (WIDE, "$.l[?(@.a == 1)]"),
    "many objects": (WIDE, "$..a"),
}


@pytest.mark.parametrize(("answer", "path"), COSTLY.values(), ids=COSTLY)
def test_an_evaluation_ends_after_a_bounded_amount_of_work(answer: Any, path: str) -> None:
    visited = 0

    class Counted(Work):
        def visit(self, members: Any) -> None:
            nonlocal visited
            visited += 1
            super().visit(members)

        def pick(self, found: Any) -> None:
            nonlocal visited
            visited += 1
            super().pick(found)

    with pytest.raises(InvalidRequest, match="looks at too many values"):
        found_at(answer, path, Counted())
    assert visited <= MOST_WORK / 16 + 1


def test_ordinary_filters_are_far_from_the_bound() -> None:
    vectors = {"data": [{"embedding": [0.5] * 1536, "index": number} for number in range(500)]}
    for path, most in (("$.data[*].embedding", 20_000), ("$.data[0].embedding", 5_000), ("$..embedding", MOST_WORK)):
        work = Work()
        found_at(vectors, path, work)
        assert work.spent <= most
    work = Work()
    chat = {"choices": [{"message": {"role": "assistant", "content": "x" * 1_000_000}}]}
    assert len(found_at(chat, "$.choices[0].message.content", work)) == 1_000_000
    assert work.spent < 100


def test_a_reason_shows_the_start_of_a_long_value() -> None:
    for value in ({"a": ["x" * 10_000]}, {"a": [1] * 100_000}, nested(900)):
        with pytest.raises(EngineError) as refused:
            found_at(value, "$[0]")
        assert len(refused.value.details["caused_by"]["reason"]) < 400
