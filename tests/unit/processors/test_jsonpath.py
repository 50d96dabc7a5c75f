"""The dialect, path by path, against what the real ML Commons 3.6.0 found (jsonpath_outcomes.json, recorded from it by
tests/fixtures/reference_paths.py; tests/parity/test_ml_inference_paths.py asks it again)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.processors.hit_inputs import Document
from bridge.processors.java_text import hashed
from bridge.processors.jsonpath import PathNotFound, path_of

RECORDED = json.loads(Path(__file__).with_name("jsonpath_outcomes.json").read_text())
DOCUMENTS = RECORDED["documents"]
SENT = {name: hashed(document) for name, document in DOCUMENTS.items()}
"""The documents as the recording model answered them: it was given them by a processor."""
MISSING = {"missing": True}

DIFFERS = {
    "$..[*].n": "Jayway 2.9.0 loses what lies below a list here, through state that a compiled path keeps",
    "$.parts[?(@.tags all ['x'])].n": "`all` never holds in Jayway when its list is written in the path",
    "$.m[?(@.lang)]": "a filter on a text or null fails the whole search with 500; here it finds nothing",
    "$.m[?(@.lang=='en')].score": "as above",
    "$.none[?(@.x)]": "as above",
    "$.title[?(@.x)]": "as above",
    "length($.parts)": "Jayway changes the compiled path at each use, and counts something else each time",
    "sum($.parts[*].n)": "as above",
    "$.sum($.parts[*].n)": "as above",
    "$.parts.first().name": "a function in the middle of a path; an empty list is 500 index_out_of_bounds",
    "$.nums.append(9)": "Jayway appends twice, to the document itself",
    "parts[": "Jayway overlooks a bracket at the very end",
}


def as_response(path: str) -> dict[str, Any]:
    try:
        found = {name: Document({**document, "k": name}).read(path) for name, document in DOCUMENTS.items()}
    except InvalidRequest as error:
        return {"error": error.kind}
    return {name: MISSING if value is None else value for name, value in found.items()}


def as_output(path: str, document: Any) -> Any:
    try:
        return {"value": document[path] if path in document else path_of(path).require(document)}
    except (PathNotFound, InvalidRequest):
        return MISSING


def same_output(mine: Any, recorded: Any) -> bool:
    if "text" in recorded or isinstance(mine.get("value"), str):
        return bool(mine.get("value") == str(recorded.get("text", recorded.get("value"))))
    return bool(mine == recorded)


def agrees(row: dict[str, Any]) -> bool:
    recorded = row["response"]
    mine = as_response(row["path"])
    if "error" in recorded or "error" in mine:
        if mine.get("error") != recorded.get("error", {}).get("type"):
            return False
    elif mine != recorded:
        return False
    return all(same_output(as_output(row["path"], SENT[name]), row["output"][name]) for name in DOCUMENTS)


@pytest.mark.parametrize("row", RECORDED["paths"], ids=lambda row: row["path"])
def test_finds_what_the_real_server_finds(row: dict[str, Any]) -> None:
    assert agrees(row) is (row["path"] not in DIFFERS), DIFFERS.get(row["path"], as_response(row["path"]))


def test_objects_keep_the_order_of_the_document() -> None:
    assert path_of("m.*").read({"m": {"z": 1, "a": 2}}) == [1, 2]
    assert path_of("$..n").read({"z": {"n": 1}, "a": [{"n": 2}], "n": 3}) == [3, 1, 2]


def test_writes_every_place_and_makes_an_absent_member_at_the_end() -> None:
    document = {"q": [{"t": {"v": 1}}, {"t": {}}], "s": [1, 2]}
    path_of("q[*].t.v").put(document, [7])
    path_of("$.s[-1]").put(document, [8, 9])
    path_of("s[0]").put(document, "x")
    path_of("absent.below").put(document, 1)
    assert document == {"q": [{"t": {"v": [7]}}, {"t": {"v": [7]}}], "s": ["x", [8, 9]]}


def test_a_place_exists_only_where_something_stands() -> None:
    document = {"a": {"b": None}, "l": []}
    assert [path_of(path).exists(document) for path in ("a.b", "a.c", "l[*].x", "z[*].x", "l[0]", "$")] == [
        True, False, True, False, False, True,
    ]  # fmt: skip


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=12,
)
PIECES = st.sampled_from(
    ["$", "@", ".", "..", "a", "b", "*", "[*]", "[0]", "[-1]", "[0,1]", "[1:]", "['a']", "['a','b']", "[?(@.a)]",
     "[?(@.b>1)]", "[?(@.a=='x' && !@.b)]", "[?(@ in [1])]", "length()", "concat($.a)", "(", ")", "]", "[", "'", " "]
)  # fmt: skip


@given(st.lists(PIECES, max_size=6).map("".join), VALUES)
def test_no_path_breaks_it_and_reading_changes_nothing(text: str, document: Any) -> None:
    before = copy.deepcopy(document)
    try:
        path = path_of(text)
        for nulls in (False, True):
            found = path.read(document, nulls=nulls)
            assert path.definite or found is None or isinstance(found, list)
        path.exists(document)
    except InvalidRequest as error:
        assert error.kind in ("invalid_path_exception", "json_path_exception")
    assert document == before


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        path_of(text)
    except InvalidRequest as error:
        assert error.kind == "invalid_path_exception"


@pytest.mark.parametrize("text", ["a" + ".b" * 300, "a[" + "9" * 5000 + "]", "$[?(" + "(" * 3000, "." * 9])
def test_paths_that_no_reader_could_walk_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        path_of(text)
    assert refused.value.kind == "invalid_path_exception"


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a|b)*",
        "(a*)*b",
        "((a)|b)+",
        r"(a)\1",
        ".*a.*b.*c.*",
        "(a{1,9}){2,}",
        "(?:x+y?)*",
        "(a?){30}",
        "a?" * 30,
        "(a|a)" * 30,
    ],
)
def test_expressions_that_could_run_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="too long"):
        path_of(f"$.l[?(@ =~ /{pattern}/)]")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("s.*", ["skin"]),
        ("[a-z+*]+", ["skin", "x+"]),
        (r"x\+", ["x+"]),
        ("(sk|x).*", ["skin", "x+"]),
        ("S.*/i", ["skin"]),
        ("sk?.*?n", ["skin"]),
        ("skin|x[+]", ["skin", "x+"]),
    ],
)
def test_other_expressions_work(pattern: str, found: list[str]) -> None:
    text = pattern if pattern.endswith("/i") else pattern + "/"
    assert path_of(f"$.l[?(@ =~ /{text})]").read({"l": ["skin", "x+", 5]}) == found


def test_several_repeats_look_at_short_texts_only() -> None:
    path = path_of("$.l[?(@ =~ /.*a.*/)]")
    assert path.read({"l": ["xa", "x" * 1000]}) == ["xa"]
    with pytest.raises(InvalidRequest, match="too long"):
        path.read({"l": ["x" * 100_000]})
    assert path_of("$.l[?(@ =~ /x*/)]").read({"l": ["x" * 100_000]})


def test_a_path_does_not_look_through_everything_again_and_again() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}
    assert len(path_of("$..a..a").read(deep)) == 99 * 100 // 2
    with pytest.raises(InvalidRequest, match="2 times at most") as refused:
        path_of("$..a..a..a")
    assert refused.value.kind == "invalid_path_exception"
