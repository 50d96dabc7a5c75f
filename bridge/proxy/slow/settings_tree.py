"""Settings as the cluster reads and prints them: flat keys, nested objects, lists. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from bridge.domain.setting_rules import SettingValue
from bridge.errors import InvalidRequest
from bridge.wire import dumps_exact

_FIRST_TABLE = 2
_LOAD = 0.75


def flat(tree: Mapping[str, Any]) -> dict[str, SettingValue | None]:
    """One entry for each setting in a body of flat, nested or mixed notation; of a key given twice the last counts.

    `a.0` and `a.1` make a list `a`. Raises InvalidRequest for a list that holds anything but scalars.
    """
    return _joined(dict(_leaves("", tree, tree)))


Leaf: TypeAlias = tuple[str, SettingValue | None]


def _leaves(prefix: str, tree: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[Leaf]:
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, Mapping):
            yield from _leaves(f"{key}.", value, whole)
        elif isinstance(value, list):
            if any(item is None or isinstance(item, (dict, list)) for item in value):
                raise _no_list(whole)
            yield key, tuple(_text(item) for item in value)
        else:
            yield key, None if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, Decimal) else str(value)


def _joined(found: dict[str, SettingValue | None]) -> dict[str, SettingValue | None]:
    joined: dict[str, SettingValue | None] = {}
    for key, value in found.items():
        stem, _, number = key.rpartition(".")
        if not number.isdigit() or f"{stem}.0" not in found:
            joined[key] = value
        elif stem not in joined:
            count = next(n for n in range(len(found) + 1) if f"{stem}.{n}" not in found)
            joined[stem] = tuple(str(found[f"{stem}.{n}"]) for n in range(count))
    return joined


def _no_list(whole: Mapping[str, Any]) -> InvalidRequest:
    reason = f"Failed to load settings from [{dumps_exact(whole).decode()}]"
    cause = {"type": "illegal_state_exception", "reason": "only value lists are allowed in serialized settings"}
    return InvalidRequest(reason, kind="settings_exception", caused_by=cause)


def structured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The nested form of flat settings, with the cluster's order of keys."""
    root: dict[str, Any] = {}
    for key in sorted(settings):
        _put(root, "", key.split("."), settings[key])
    ordered: dict[str, Any] = _ordered(root)
    return ordered


def _put(into: dict[str, Any], prefix: str, parts: Sequence[str], value: Any) -> None:
    key = prefix + parts[0]
    if len(parts) == 1:
        into[key] = value
    elif key in into and not isinstance(into[key], dict):
        # `a` and `a.b` both have a value: the second stands beside the first under its whole name.
        _put(into, f"{key}.", parts[1:], value)
    else:
        _put(into.setdefault(key, {}), "", parts[1:], value)


def _ordered(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _ordered(value[key]) for key in hash_order(list(value))}


def hash_order(keys: Sequence[str]) -> list[str]:
    """Keys, given in the order of insertion, as a Java HashMap that began with two places gives them back."""
    places = _FIRST_TABLE
    while len(keys) > places * _LOAD:
        places *= 2
    return sorted(keys, key=lambda key: _spread(key) & (places - 1))


def _spread(key: str) -> int:
    value = 0
    units = key.encode("utf-16-be")
    for at in range(0, len(units), 2):
        value = (31 * value + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
    return value ^ (value >> 16)
