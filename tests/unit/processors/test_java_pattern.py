"""Separators of `split` after an ML processor: Java's meaning, and never for ever."""

from __future__ import annotations

import time

import pytest

from bridge.errors import InvalidRequest
from bridge.processors.java_pattern import LONGEST_TEXT, compiled, split


@pytest.mark.parametrize(
    ("pattern", "text", "parts"),
    [
        (",", "a,b,,", ["a", "b"]),
        (r"\s*;\s*", "a ; b;c", ["a", "b", "c"]),
        (r"\|", "a|b", ["a", "b"]),
        ("[*+]", "a*b+c", ["a", "b", "c"]),
        ("", "abc", ["a", "b", "c"]),
    ],
)
def test_texts_are_split_as_java_does(pattern: str, text: str, parts: list[str]) -> None:
    assert split(compiled(pattern), text, keep_trailing=False) == parts


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)*b", r"(a)\1*", "a*b*c*d*"])
def test_what_may_run_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match="too long"):
        compiled(pattern)


def test_long_texts_are_split_where_nothing_repeats() -> None:
    long = "ab*" * LONGEST_TEXT
    assert len(split(compiled(r"\*"), long, keep_trailing=False)) == LONGEST_TEXT
    with pytest.raises(InvalidRequest, match="too long to be split"):
        split(compiled(r"\s+,"), " " * (LONGEST_TEXT + 1), keep_trailing=False)


def test_the_worst_that_is_taken_ends_soon() -> None:
    began = time.monotonic()
    split(compiled(r"\s+,"), " " * LONGEST_TEXT, keep_trailing=False)
    assert time.monotonic() - began < 20
