"""Bytes <-> JSON <-> domain values.

One converter for all documents: unknown keys are dropped, absent and null fields are None, None is not written,
field order is the order of the dataclass, and scalars are read as leniently as ML Commons reads them ("384" is an
int where an int is meant, 1 is a text where a text is meant).
"""

from __future__ import annotations

import json
import re
import types
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import cattrs
import orjson
import simplejson
from cattrs.gen import make_dict_structure_fn

from bridge.errors import InvalidRequest, Unparsable
from bridge.json_fault import fault_of

T = TypeVar("T")

_TRUE, _FALSE = ("true",), ("false",)
_TOO_DEEP = "The body is nested too deeply"
_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*|[+-]?(NaN|Infinity)")
_SMALL = ("0.000000", "-0.000000")
_LEAST, _MOST = -(2**63), 2**63 - 1


def token_of(value: Any) -> str:
    """What the cluster's parser calls the first token of a value."""
    if isinstance(value, bool):
        return "VALUE_BOOLEAN"
    tokens = {
        dict: "START_OBJECT",
        list: "START_ARRAY",
        str: "VALUE_STRING",
        int: "VALUE_NUMBER",
        float: "VALUE_NUMBER",
    }
    return tokens.get(type(value), "VALUE_NULL")


def _text(value: Any, _: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise InvalidRequest(f"Can't get text on a {token_of(value)}")


def _no_number(value: Any) -> Unparsable:
    reason = f"Current token ({token_of(value)}) not numeric, can not use numeric value accessors"
    return Unparsable(reason, kind="json_parse_exception")


def _integer(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _no_number(value)
    try:
        found = int(value) if not isinstance(value, str) or _WHOLE.fullmatch(value) else int(_real(value, float))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f'For input string: "{value}"', kind="number_format_exception") from error
    if not _LEAST <= found <= _MOST:
        raise InvalidRequest(
            f"Numeric value ({value}) out of range of long ({_LEAST} - {_MOST})", kind="input_coercion_exception"
        )
    return found


def _real(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _no_number(value)
    # Python alone takes "1_000" and digits of other scripts as well.
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise InvalidRequest(f'For input string: "{value}"', kind="number_format_exception")
    return float(value)


def _boolean(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise Unparsable(f"Current token ({token_of(value)}) not of boolean type", kind="json_parse_exception")
    if value in _TRUE or value in _FALSE or not value:
        return value in _TRUE
    raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def read_text(value: Any) -> str:
    """A text, number or boolean as text. Raises InvalidRequest."""
    return _text(value, str)


def read_integer(value: Any) -> int:
    """An integer, or a text or number that stands for one. Raises InvalidRequest."""
    return _integer(value, int)


def read_real(value: Any) -> float:
    """A number, or a text that stands for one. Raises InvalidRequest."""
    return _real(value, float)


def read_flag(value: Any) -> bool:
    """A boolean, or the text of one; an empty text is false, as in the cluster's parser. Raises InvalidRequest."""
    return _boolean(value, bool)


def _enum(value: Any, kind: type[StrEnum]) -> StrEnum:
    try:
        return kind(str(value).upper())
    except ValueError as error:
        raise InvalidRequest(f"No enum constant {kind.__name__}.{value}") from error


def _sequence(value: Any, kind: Any) -> tuple[Any, ...]:
    item = get_args(kind)[0]
    # A field that once held a comma list (worker_node of 2.x) reads as a list too.
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(_converter.structure(x, item) for x in items)


def _is_generic(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _optional(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    inner = next(a for a in get_args(kind) if a is not type(None))
    return _converter.structure(value, inner)


def _structure_dataclass(kind: type[Any]) -> Any:
    plain = make_dict_structure_fn(kind, _converter, _cattrs_detailed_validation=False)

    def structure(value: Any, cls: Any) -> Any:
        return plain({k: v for k, v in value.items() if v is not None}, cls)

    return structure


def _unstructure_dataclass(kind: type[Any]) -> Any:
    # Not cattrs' generated function: it writes the fields with defaults last, and ML Commons has an order.
    hints = get_type_hints(kind)
    optional = {f.name for f in fields(kind) if _is_optional(hints[f.name]) and f.default is None}
    names = tuple(f.name for f in fields(kind))

    def unstructure(value: Any) -> dict[str, Any]:
        found = ((name, getattr(value, name)) for name in names)
        return {name: _converter.unstructure(v) for name, v in found if v is not None or name not in optional}

    return unstructure


_converter = cattrs.Converter(detailed_validation=False)
for _kind, _reader in ((str, _text), (int, _integer), (float, _real), (bool, _boolean), (StrEnum, _enum)):
    _converter.register_structure_hook(_kind, _reader)
_converter.register_structure_hook_func(partial(_is_generic, tuple), _sequence)
_converter.register_structure_hook_func(_is_optional, _optional)
_converter.register_structure_hook_func(partial(_is_generic, dict), lambda v, _: v)
_converter.register_structure_hook_factory(is_dataclass, _structure_dataclass)
_converter.register_unstructure_hook_factory(is_dataclass, _unstructure_dataclass)
_converter.register_unstructure_hook(StrEnum, lambda v: v.value)
_converter.register_unstructure_hook(tuple, lambda v: [_converter.unstructure(x) for x in v])


def from_document(kind: type[T], document: Mapping[str, Any]) -> T:
    """Read a dataclass of the domain from a JSON object.

    Raises InvalidRequest when a value cannot be read as its field's type.
    """
    try:
        return _converter.structure(document, kind)
    except KeyError as error:
        raise InvalidRequest(f"{kind.__name__} lacks a field: {error}") from error


def to_document(value: Any) -> dict[str, Any]:
    """Write a dataclass of the domain as a JSON object, None left out, order kept."""
    document: dict[str, Any] = _converter.unstructure(value)
    return document


def loads(data: bytes | str) -> Any:
    """Read JSON quickly; for our own documents and request bodies, where numbers are ordinary.

    Raises Unparsable.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _refused(data, error) from error


def loads_once(data: bytes) -> Any:
    """`loads` for what a person wrote: a field given twice is refused, as the cluster refuses it. Raises Unparsable."""
    value = loads(data)
    try:
        # Only the fields' names are looked at.
        json.loads(data, object_pairs_hook=_no_duplicates, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise _refused(data, error) from error
    return value


def _refused(data: bytes | str, error: Exception) -> Unparsable:
    """The cluster's words for what is wrong with a body; those of `error` where only our own parser refuses it."""
    otherwise = _TOO_DEEP if isinstance(error, RecursionError) else str(error)
    fault = fault_of(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return Unparsable(fault.reason, kind=fault.kind) if fault else Unparsable(otherwise, kind="json_parse_exception")


def dumps(value: Any) -> bytes:
    """Write JSON; numpy arrays go out as lists with the shortest digits that give the same float32 back.

    Raises InvalidRequest for what is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        # It stops at some 250 levels and at 64 bits, where the cluster does not.
        return _deep(value)


def _deep(value: Any) -> bytes:
    try:
        return dumps_exact(value)
    except RecursionError as error:
        raise InvalidRequest(_TOO_DEEP) from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"Duplicate field '{twice}'")
    return found


class Written(Decimal):
    """A decimal that is printed as it was written: `1.0E10` where Decimal alone has `1.0E+10`."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> Written:
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __str__(self) -> str:
        return self.text


def decimal(text: str) -> Decimal:
    """What a JSON number with a point or an exponent stands for, printed as it was written."""
    # The others are printed so anyway, and there may be very many of them.
    return Written(text) if "e" in text or "E" in text or text.startswith(_SMALL) else Decimal(text)


def loads_exact(data: bytes | str) -> Any:
    """Read JSON without losing a digit: integers of any length, decimals as Decimal. For what goes on to the cluster.

    A field given twice is refused, as the cluster refuses it. Raises Unparsable.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return simplejson.loads(text, parse_float=decimal, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _refused(data, error) from error


def raw_json(data: bytes) -> Any:
    """Bytes that are JSON already, to be put into a value that `dumps_exact` writes (a vector, for example)."""
    return simplejson.RawJSON(data.decode("utf-8"))


def dumps_exact(value: Any) -> bytes:
    """Write what `loads_exact` read, with `raw_json` parts put in as they are."""
    text: str = simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Lone surrogates came in as escapes and must go out as escapes.
    return text.encode("utf-8", "surrogatepass") if text.isascii() else _encode(text)


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(c if not 0xD800 <= ord(c) <= 0xDFFF else f"\\u{ord(c):04x}" for c in text).encode("utf-8")
