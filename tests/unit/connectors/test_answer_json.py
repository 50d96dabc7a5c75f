"""Answers of services as values: no digit is lost, and nothing that the reference reads is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.connectors.answer_json import read, read_text
from bridge.errors import InvalidRequest


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b'{"b":12345678901234567890123}', {"b": 12345678901234567890123}),
        (b"[-9999999999999999999, 1]", [-9999999999999999999, 1]),
        (b"12345678901234567890123", 12345678901234567890123),
        (b'{"b":9223372036854775808,"c":1.50}', {"b": 9223372036854775808, "c": 1.5}),
        (b'{"b":0.1234567890123456789012}', {"b": 0.12345678901234568}),
        (b'{"b":100000000000000000000.0}', {"b": 1e20}),
        (b'{"b":1e400,"c":-1e400}', {"b": "Infinity", "c": "-Infinity"}),
        (b'{"b":"\\ud800","\\udc00":1}', {"b": "\ud800", "\udc00": 1}),
        (b'{"b":"\xff"}', {"b": "�"}),
        (b" null ", None),
    ],
)
def test_what_an_answer_says(answer: bytes, value: Any) -> None:
    found = read(answer)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "answer", [b"x", b'{"a":', b'{"b":NaN}', b"[Infinity]", b'\xef\xbb\xbf{"b":1}', b"[" * 5000, b'{"b":1,}', b""]
)
def test_what_is_no_json(answer: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^Invalid JSON format: ") as refused:
        read(answer)
    assert refused.value.details["caused_by"]["type"].endswith("exception")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"input": "hi"}', {"input": "hi"}),
        ('["hi"]', ["hi"]),
        (' {"a":1} ', {"a": 1}),
        ('[{"a": 12345678901234567890123}]', [{"a": 12345678901234567890123}]),
        ('{"a":"{\\"b\\":1}"}', {"a": '{"b":1}'}),
        *((text, text) for text in ("plain", "5", '"x"', "null", "true", "", '{"a":', "[a", '{"a":1} x', "1e400")),
        (5, 5),
    ],
)
def test_the_text_of_an_object_or_array_is_read(text: Any, value: Any) -> None:
    assert read_text(text) == value
