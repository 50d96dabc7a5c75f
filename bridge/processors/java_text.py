"""Values as Java prints them, and the order in which its hash maps keep their keys: native processors show both, and
ML Commons reads documents with the latter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

_FIRST_TABLE = 16
_MASK = 0xFFFFFFFF


def java_text(value: Any) -> str:
    """`String.valueOf` of a JSON value as the real server reads it: objects as `{a=1, b=2}`, lists as `[1, 2]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java_text(value[key])}" for key in hash_order(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(java_text(item) for item in value) + "]"
    if isinstance(value, (float, Decimal)):
        return _double(float(value))
    return str(value)


def _double(number: float) -> str:
    """`Double.toString`: shortest digits, scientific outside of [0.001, 10000000)."""
    if math.isnan(number):
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    if not isinstance(exponent, int) or digits == (0,):
        return "-0.0" if sign else "0.0"
    text = "".join(str(digit) for digit in digits)
    point = len(text) + exponent
    minus = "-" if sign else ""
    if -3 < point <= 7:
        whole, rest = text[: max(point, 0)].ljust(point, "0"), text[max(point, 0) :]
        return f"{minus}{whole or '0'}.{'0' * -min(point, 0)}{rest or '0'}"
    return f"{minus}{text[0]}.{text[1:] or '0'}E{point - 1}"


@lru_cache(maxsize=8192)
def java_hash(text: str) -> int:
    """`String.hashCode`, unsigned."""
    found = 0
    raw = text.encode("utf-16-be", "surrogatepass")
    for place in range(0, len(raw), 2):
        found = (31 * found + (raw[place] << 8 | raw[place + 1])) & _MASK
    return found


def hash_order(keys: Iterable[str]) -> list[str]:
    """Distinct keys, given in the order in which they were put, as a `HashMap` walks over them."""
    listed = list(keys)
    size = _FIRST_TABLE
    while len(listed) > size * 3 // 4:
        size *= 2

    def bucket(key: str) -> int:
        hashed = java_hash(key)
        return (hashed ^ hashed >> 16) & (size - 1)

    return sorted(listed, key=bucket)


def hashed(value: Any) -> Any:
    """A JSON value with all its objects in the order of Java's hash maps. Nothing is changed in place."""
    if isinstance(value, dict):
        return {key: hashed(value[key]) for key in hash_order(value)}
    return [hashed(item) for item in value] if isinstance(value, list) else value


def utf16(text: str) -> bytes:
    """A key that orders texts as Java compares them."""
    return text.encode("utf-16-be", "surrogatepass")
