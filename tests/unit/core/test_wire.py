from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import wire
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.domain.node import Device, HeldModel, HeldState, Node
from bridge.errors import InvalidRequest, Unparsable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_reads_scalars_as_leniently_as_the_reference() -> None:
    model = wire.from_document(
        Model, {"name": 7, "algorithm": "text_embedding", "total_chunks": "3", "unknown": 1, "description": None}
    )
    assert (model.name, model.algorithm, model.total_chunks) == ("7", FunctionName.TEXT_EMBEDDING, 3)
    assert model.description is None


def test_names_of_older_versions_still_read() -> None:
    assert wire.from_document(Model, {"name": "m", "model_state": "PARTIALLY_LOADED"}).model_state is (
        ModelState.PARTIALLY_DEPLOYED
    )


def test_writes_in_field_order_without_nulls_but_with_false() -> None:
    model = Model(name="m", is_hidden=False, model_group_id="g", planning_worker_nodes=("a", "b"))
    assert list(wire.to_document(model).items()) == [
        ("name", "m"),
        ("model_group_id", "g"),
        ("algorithm", "TEXT_EMBEDDING"),
        ("planning_worker_nodes", ["a", "b"]),
        ("is_hidden", False),
    ]


def test_nested_values_come_back_as_they_went() -> None:
    node = Node(
        name="n",
        devices=(Device(name="cpu", kind="cpu", memory_free=5),),
        models=(HeldModel(model_id="m", state=HeldState.FAILED, error="e"),),
    )
    assert wire.from_document(Node, json.loads(wire.dumps(wire.to_document(node)))) == node


@pytest.mark.parametrize(
    "value", [{"name": {}}, {"name": "m", "total_chunks": "x"}, {"name": "m", "is_hidden": "maybe"}]
)
def test_what_cannot_be_read_is_the_clients_mistake(value: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        wire.from_document(Model, value)


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(InvalidRequest, match="name"):
        wire.from_document(Model, {"algorithm": "REMOTE"})


@given(json_values)
def test_exact_reading_and_writing_keep_every_value(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(wire.dumps_exact(wire.loads_exact(text))) == value


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_digit_of_a_decimal_is_lost(number: Decimal) -> None:
    text = f"[{number}]"
    assert Decimal(wire.dumps_exact(wire.loads_exact(text)).decode()[1:-1]) == number


@pytest.mark.parametrize("text", ["1.0E10", "1e5", "-0.0", "1.10", "0.0000001", "-0.00000010", "3.4028235E38", "1e400"])
def test_a_decimal_goes_out_as_it_was_written(text: str) -> None:
    assert wire.dumps_exact(wire.loads_exact(f'{{"a":[{text}]}}')).decode() == f'{{"a":[{text}]}}'


def test_a_lone_surrogate_goes_out_as_it_came() -> None:
    assert wire.dumps_exact(wire.loads_exact(b'{"a":"\\ud800\xc3\xa9"}')) == b'{"a":"\\ud800\xc3\xa9"}'


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(Unparsable, match="Duplicate field 'a'"):
        wire.loads_exact('{"a":1,"b":2,"a":3}')


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(Unparsable):
        wire.loads_exact(text)


def test_raw_parts_are_put_in_as_they_are() -> None:
    vector = wire.dumps(np.array([0.1, 2.5], dtype=np.float32))
    assert wire.dumps_exact({"v": wire.raw_json(vector)}) == b'{"v":[0.1,2.5]}'


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_vectors_come_back_to_the_same_float32(numbers: list[float]) -> None:
    array = np.array(numbers, dtype=np.float32)
    assert np.array_equal(np.array(json.loads(wire.dumps(array)), dtype=np.float32), array)


@pytest.mark.parametrize(("text", "whole"), [("12", 12), ("1.5", 1), ("-3e2", -300), (" 7", 7)])
def test_texts_stand_for_numbers_as_java_reads_them(text: str, whole: int) -> None:
    assert wire.read_integer(text) == whole


@pytest.mark.parametrize("text", ["1_000", "\u0663", "0x10", "", "1e", "NaN", "Infinity"])
def test_what_only_python_takes_for_a_number_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.read_integer(text)


def test_an_empty_text_is_false() -> None:
    assert wire.read_flag("") is False


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_the_quick_writer_refuses_is_written_all_the_same() -> None:
    assert wire.dumps({"n": 12345678901234567890123}) == b'{"n":12345678901234567890123}'
    assert wire.loads_exact(wire.dumps(nested(300))) == nested(300)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        wire.dumps(nested(100_000))


def test_a_body_that_is_too_deep_is_told_so() -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        wire.loads_once(b'{"a":' * 990 + b"1" + b"}" * 990)
