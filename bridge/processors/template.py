"""JSON texts with `${name}` in them, read once as a tree: whatever is filled in stays one value at its place.

ML Commons replaces text by text, so that a quote in a value ends the string it stands in. Here a place between quotes
takes the value's text, and a place outside of quotes takes one JSON value; nothing that was filled in is read again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bridge.errors import BridgeError
from bridge.wire import dumps_exact, loads_exact

_PLACE = re.compile(r"\$\{([^{}]*)\}")
_ESCAPE = re.compile(r"\\.", re.DOTALL)
# Nobody who writes a template can know it, so a text with a mark in it was not in the template.
_MARK = secrets.token_hex(12)
_MARKED = re.compile(_MARK + r"([VT])(\d+);")


class Unfillable(ValueError):
    """The template is no JSON with its places filled, or a place outside of quotes has no value."""


@dataclass(frozen=True)
class Place:
    """`${name}` or `${name:-default}`."""

    name: str
    default: str | None
    literal: str


@dataclass(frozen=True)
class _Value:
    place: Place
    text: bool


@dataclass(frozen=True)
class _Text:
    parts: tuple[str | Place, ...]


@dataclass(frozen=True)
class _Member:
    key: str | _Text
    value: _Node


@dataclass(frozen=True)
class _Object:
    members: tuple[_Member, ...]


@dataclass(frozen=True)
class _Array:
    items: tuple[_Node, ...]


@dataclass(frozen=True)
class _Constant:
    value: Any


_Node: TypeAlias = _Value | _Text | _Object | _Array | _Constant
AsText: TypeAlias = Callable[[Any], str]


def json_text(value: Any) -> str:
    """A value as ML Commons hands it to a model: texts as they are, anything else as compact JSON."""
    return value if isinstance(value, str) else dumps_exact(value).decode("utf-8")


def _everything(name: str) -> bool:
    return True


class Template:
    """A compiled template. `wanted` tells which names are places; other `${...}` are text. Values at the top-level keys
    `texts` stay texts where they are texts; elsewhere a text outside of quotes that is JSON stands for that JSON."""

    def __init__(
        self,
        text: str,
        *,
        wanted: Callable[[str], bool] = _everything,
        texts: frozenset[str] = frozenset(),
        as_text: AsText = json_text,
    ) -> None:
        self.text = text
        self._wanted = wanted
        self._as_text = as_text
        self._places: list[Place] = []
        self._root: _Node | None
        try:
            self._root = self._node(loads_exact(self._marked()), texts=texts, depth=0)
        except BridgeError:
            self._root = None

    @property
    def readable(self) -> bool:
        """Whether it is JSON with its places filled."""
        return self._root is not None

    def fill(self, values: Mapping[str, Any]) -> Any:
        """The JSON value. A name without value or default stays as text between quotes. Raises Unfillable."""
        if self._root is None:
            raise Unfillable(self.text)
        return self._filled(self._root, values)

    def plain(self, values: Mapping[str, Any]) -> str:
        """The text with values put in as they are; only fit to be shown."""

        def put(found: re.Match[str]) -> str:
            place = _place(found)
            if not self._wanted(place.name) or place.name not in values:
                return found[0] if place.default is None else place.default
            return self._as_text(values[place.name])

        return _PLACE.sub(put, self.text)

    def constants(self, key: str) -> frozenset[str]:
        """The names in the top-level object `key` whose values hold no place."""
        for member in self._root.members if isinstance(self._root, _Object) else ():
            if member.key == key and isinstance(member.value, _Object):
                inner = member.value.members
                return frozenset(m.key for m in inner if isinstance(m.key, str) and isinstance(m.value, _Constant))
        return frozenset()

    def _marked(self) -> str:
        out, end, inside = [], 0, False
        for found in _PLACE.finditer(self.text):
            place = _place(found)
            if not self._wanted(place.name):
                continue
            before = self.text[end : found.start()]
            inside ^= _ESCAPE.sub("", before).count('"') % 2 == 1
            mark = f"{_MARK}{'T' if inside else 'V'}{len(self._places)};"
            out += [before, mark if inside else f'"{mark}"']
            self._places.append(place)
            end = found.end()
        return "".join([*out, self.text[end:]])

    def _node(self, value: Any, *, texts: frozenset[str], depth: int, text: bool = False) -> _Node:
        if isinstance(value, str):
            return self._leaf(value, text=text)
        if isinstance(value, list):
            items = tuple(self._node(item, texts=texts, depth=depth + 1, text=text) for item in value)
            constant = all(isinstance(item, _Constant) for item in items)
            return _Constant(value) if constant else _Array(items)
        if isinstance(value, dict):
            return self._object(value, texts=texts, depth=depth)
        return _Constant(value)

    def _object(self, value: dict[str, Any], *, texts: frozenset[str], depth: int) -> _Node:
        members = []
        for name, below in value.items():
            key = self._key_node(name)
            node = self._node(below, texts=texts, depth=depth + 1, text=depth == 0 and name in texts)
            members.append(_Member(key, node))
        constant = all(isinstance(m.key, str) and isinstance(m.value, _Constant) for m in members)
        return _Constant(value) if constant and depth > 1 else _Object(tuple(members))

    def _key_node(self, name: str) -> str | _Text:
        leaf = self._leaf(name, text=True)
        if isinstance(leaf, _Value):
            return _Text((leaf.place,))
        return leaf if isinstance(leaf, _Text) else name

    def _leaf(self, value: str, *, text: bool) -> _Value | _Text | _Constant:
        alone = _MARKED.fullmatch(value)
        if alone is not None and alone[1] == "V":
            return _Value(self._places[int(alone[2])], text)
        parts: list[str | Place] = []
        end = 0
        for found in _MARKED.finditer(value):
            parts += [value[end : found.start()], self._places[int(found[2])]]
            end = found.end()
        return _Text((*parts, value[end:])) if parts else _Constant(value)

    def _filled(self, node: _Node, values: Mapping[str, Any]) -> Any:
        if isinstance(node, _Constant):
            return node.value
        if isinstance(node, _Text):
            return self._joined(node, values)
        if isinstance(node, _Array):
            return [self._filled(item, values) for item in node.items]
        if isinstance(node, _Object):
            return {self._key(m.key, values): self._filled(m.value, values) for m in node.members}
        return self._value(node, values)

    def _key(self, key: str | _Text, values: Mapping[str, Any]) -> str:
        return key if isinstance(key, str) else self._joined(key, values)

    def _joined(self, node: _Text, values: Mapping[str, Any]) -> str:
        return "".join(part if isinstance(part, str) else self._text(part, values) for part in node.parts)

    def _text(self, place: Place, values: Mapping[str, Any]) -> str:
        if place.name in values:
            return self._as_text(values[place.name])
        return place.literal if place.default is None else place.default

    def _value(self, node: _Value, values: Mapping[str, Any]) -> Any:
        place = node.place
        if place.name in values:
            value = values[place.name]
        elif place.default is not None:
            value = place.default
        else:
            raise Unfillable(place.literal)
        return value if node.text or not isinstance(value, str) else _json_or_text(value)


def _place(found: re.Match[str]) -> Place:
    name, separator, default = found[1].partition(":-")
    return Place(name, default if separator else None, found[0])


def _json_or_text(value: str) -> Any:
    try:
        return loads_exact(value)
    except BridgeError:
        return value
