"""The cluster's words for malformed JSON.

json_faults.jsonl holds what the real ML Commons 3.6.0 said of each body (null: it found no fault), asked at
model_groups/_register or, where ML Commons does not read so far there, at `path`.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge import wire
from bridge.errors import Unparsable
from bridge.json_fault import MOST_BYTES, MOST_TOKENS, Fault, fault_of

RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("json_faults.jsonl").read_text().splitlines()
]
PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"b":1', b"1", b"0", b"-", b"+", b".", b"e", b"1.5", b"1e5"),
    *(b"true", b"nul", b"NaN", b"-INF", b"Infinity", b" ", b"\n", b"\r\n", b"\t", b"\x00", b"\x1e", b"\\", b"\\u"),
    *(b"\\ud83d", b"\\ude00", b"\\n", b"\\q", b"'", b"/", b"/*", b"*/", b"//", b"#", b"\xc3\xa9", b"\xf0\x9f\x98\x80"),
    *(b"\xc3", b"\xe2\x82", b"\x80", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"abc", b"_", b"\x7f", b"\xf7\xbf\xbf\xbf"),
]
pieced = st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def body_of(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["body"].encode()


@pytest.mark.parametrize("row", RECORDED, ids=[repr(body_of(row)[:40]) for row in RECORDED])
def test_the_words_are_the_references(row: dict[str, Any]) -> None:
    fault = fault_of(body_of(row))
    assert fault == (None if row["type"] is None else Fault(row["reason"], row["type"]))


@settings(deadline=None)
@given(st.binary(max_size=60) | pieced | st.tuples(st.sampled_from(PIECES), pieced).map(b'{"a":'.join))
@example(b"\xef\xbb\xbf{bad")
@example(b'"\xed')
@example(b'{"a":"\xf0\x9f')
def test_every_body_has_an_end_and_a_reason_that_can_be_sent(body: bytes) -> None:
    started = time.process_time()
    fault = fault_of(body)
    assert time.process_time() - started < 1
    if fault is not None:
        orjson.dumps(fault.reason)
        with contextlib.suppress(orjson.JSONDecodeError):
            orjson.loads(body)
            assert fault.reason.startswith("Duplicate field")


@settings(deadline=None)
@given(values, st.sampled_from([None, 0, 2]), st.booleans(), st.data())
def test_a_valid_body_has_no_fault_and_what_is_cut_off_has_one(
    value: Any, indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    body = json.dumps([value], indent=indent, ensure_ascii=ascii_only).encode()
    assert fault_of(body) is None
    assert fault_of(body[: data.draw(st.integers(1, len(body) - 1))]) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5_000_000,
        b'{"a":' * 1_000_000,
        b"[" + b"1," * MOST_TOKENS * 3,
        b"{" + b",".join(b'"%d":1' % i for i in range(MOST_TOKENS * 2)),
        b'["' + b"\\n" * 3_000_000 + b"\x01",
        b'{"' + b"\\n" * 3_000_000 + b"\x01",
        b'["' + "é".encode() * 3_000_000 + b"\xff",
        b"\n" * 7_000_000 + b"\x01",
        b"/* " * 2_000_000,
        b"/**/" * 1_500_000 + b"x",
        b"x" * 7_000_000,
        b"1" * 7_000_000,
        b"[" * (MOST_BYTES + 1),
    ],
    ids=lambda body: f"{body[:8]!r}-{len(body)}",
)
def test_a_large_body_is_judged_in_bounded_time(body: bytes) -> None:
    started = time.process_time()
    fault_of(body)
    assert time.process_time() - started < 5


def test_what_comes_too_late_is_not_judged() -> None:
    assert fault_of(b"[" + b"1," * (MOST_TOKENS // 2) + b"x") is not None
    assert fault_of(b"[" + b"1," * MOST_TOKENS + b"x") is None
    assert fault_of(b" " * MOST_BYTES + b"x") is None


@pytest.mark.parametrize("body", ['{"a"', '{"a":1}'], ids=["cut", "whole"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_other_encodings_are_not_judged(encoding: str, body: str) -> None:
    assert fault_of(body.encode(encoding)) is None


def test_columns_count_a_byte_order_mark() -> None:
    fault = fault_of(b"\xef\xbb\xbf{bad")
    assert fault is not None
    assert fault.reason.endswith("line: 1, column: 5]")


@pytest.mark.parametrize("read", [wire.loads, wire.loads_once, wire.loads_exact])
def test_all_readers_of_json_say_it(read: Any) -> None:
    with pytest.raises(
        Unparsable, match=r"was expecting double-quote to start field name\n at .*line: 1, column: 2"
    ) as e:
        read(b"{bad")
    assert e.value.kind == "json_parse_exception"
    with pytest.raises(Unparsable, match=": expected close marker for Object") as e:
        read(b"{")
    assert e.value.kind == "json_e_o_f_exception"


@pytest.mark.parametrize("read", [wire.loads_once, wire.loads_exact])
def test_a_field_given_twice_has_its_place(read: Any) -> None:
    with pytest.raises(Unparsable, match=r"^Duplicate field 'a'\n at .*; line: 1, column: 11\]$"):
        read(b'{"a":1,"a":2}')


def test_where_only_our_parser_refuses_it_says_so_itself() -> None:
    with pytest.raises(Unparsable, match="surrogate") as e:
        wire.loads(b'{"a":"\\ud800"}')
    assert e.value.kind == "json_parse_exception"
    with pytest.raises(Unparsable):
        wire.loads_exact('{"a":"\ud800}')
