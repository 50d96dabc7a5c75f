"""Fills `${parameters.x}` in request bodies and URLs so that a value never breaks out of its place.

Who wrote a text decides what it may do. The connector's author wrote the body and the connector's own parameters: their
placeholders are filled, and outside of quotes they stand as they are. What a request brings is a value: inside quotes
it is escaped once, outside of them it must be one whole JSON value, and a placeholder in it is plain text (ML Commons
fills it again). Parameters that the author of a pipeline wrote (`RemoteInput.templates`) are values with placeholders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bridge.errors import InvalidRequest, Unparsable
from bridge.wire import dumps_exact, loads

_PLACEHOLDER = re.compile(r"\$\{parameters\.([^{}]+)\}")
_NULL_DEFAULT = re.compile(r'"\$\{parameters\.([^{}]+?):-null\}"')
_CREDENTIAL = re.compile(r"\$\{credential\.([^{}]+)\}")
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_TO_STRING = ".toString()"
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"
"""What a value listed in `no_escape_params` may bring into a URL unchanged."""


@dataclass(frozen=True)
class Values:
    """What placeholders stand for. `given` beats `own`; `raw` names values that come escaped (`no_escape_params`)."""

    own: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    templates: frozenset[str] = frozenset()

    @property
    def raw(self) -> frozenset[str]:
        """The names in the parameter `no_escape_params`, a comma list."""
        listed = self.given.get("no_escape_params", self.own.get("no_escape_params", ""))
        return frozenset(name.strip() for name in str(listed).split(","))

    def has(self, name: str) -> bool:
        """Whether somebody gave a value."""
        return name in self.given or name in self.own

    def find(self, placeholder: str) -> tuple[str, str | None]:
        """The parameter's name and the default of `name:-default`; `.toString()` is no part of the name."""
        name, separator, default = placeholder.partition(":-")
        if name.endswith(_TO_STRING) and not self.has(name):
            name = name.removesuffix(_TO_STRING)
        return name, default if separator else None

    def text(self, name: str, unfilled: list[str], above: tuple[str, ...] = ()) -> str:
        """The value as a text, its author's placeholders filled. Raises InvalidRequest for one that needs itself."""
        if name in above:
            raise InvalidRequest(f"The parameter {name} refers to itself")
        if name in self.given:
            value = json_text(self.given[name])
            if name in self.raw:
                value = _unescaped(value)
            return self.expanded(value, unfilled, (*above, name)) if name in self.templates else value
        return self.expanded(_unescaped(self.own[name]), unfilled, (*above, name))

    def expanded(self, text: str, unfilled: list[str], above: tuple[str, ...] = ()) -> str:
        """A text with its placeholders filled once; names without a value are added to `unfilled` and stay."""

        def put(found: re.Match[str]) -> str:
            name, default = self.find(found[1])
            if self.has(name):
                return self.text(name, unfilled, above)
            if default is None:
                unfilled.append(found[1])
            return found[0] if default is None else default

        return _PLACEHOLDER.sub(put, text)


def json_text(value: Any) -> str:
    """A parameter as the text that ML Commons keeps of it: texts as they are, anything else as compact JSON."""
    return value if isinstance(value, str) else dumps_exact(value).decode("utf-8")


def _unescaped(text: str) -> str:
    """Authors write a parameter as it shall stand between quotes, or as they mean it; what reads as the former is."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


class _Body:
    """One filling of one body: what is written, and whether the end of it is inside quotes."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._out: list[str] = []
        self._inside = False
        self.unfilled: list[str] = []
        self.broken = False

    @property
    def text(self) -> str:
        return "".join(self._out)

    def write(self, template: str, above: tuple[str, ...] = ()) -> None:
        """Author's text with placeholders."""
        template = _NULL_DEFAULT.sub(lambda found: found[0] if self._values.has(found[1]) else "null", template)
        end = 0
        for found in _PLACEHOLDER.finditer(template):
            self._author(template[end : found.start()])
            self._fill(found[0], found[1], above)
            end = found.end()
        self._author(template[end:])

    def _author(self, text: str) -> None:
        self._out.append(text)
        if _ESCAPED.sub("", text).count('"') % 2:
            self._inside = not self._inside

    def _fill(self, whole: str, placeholder: str, above: tuple[str, ...]) -> None:
        name, default = self._values.find(placeholder)
        if not self._values.has(name):
            if default is None:
                self.unfilled.append(placeholder)
                self._out.append(whole)
            else:
                self._author(default)
        elif self._inside:
            self._out.append(_escaped(self._values.text(name, self.unfilled, above)))
        elif placeholder.endswith(_TO_STRING) and name != placeholder:
            self._out.append(json.dumps(self._values.text(name, self.unfilled, above)))
        elif name in self._values.given:
            self._value(name, above)
        elif name in above:
            raise InvalidRequest(f"The parameter {name} refers to itself")
        else:
            self.write(self._values.own[name], (*above, name))

    def _value(self, name: str, above: tuple[str, ...]) -> None:
        text = self._values.text(name, self.unfilled, above)
        self._out.append(text)
        if isinstance(self._values.given[name], str) and not _is_json(text):
            self.broken = True


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except Unparsable:
        return False
    return True


def _is_payload(text: str) -> bool:
    """One JSON object or array, or several on lines of their own."""
    lines = [text] if _is_json(text) else [line for line in text.splitlines() if line.strip()]
    return bool(lines) and all(line.lstrip()[:1] in ("{", "[") and _is_json(line) for line in lines)


def fill_body(template: str, values: Values, *, check: bool = True) -> str:
    """The payload. Raises InvalidRequest when it is no JSON or lacks a parameter (not with `check` False)."""
    body = _Body(values)
    body.write(template)
    if body.broken or not _is_payload(body.text):
        raise InvalidRequest(f"Invalid payload: {body.text}")
    if check and body.unfilled:
        names = ", ".join(dict.fromkeys(body.unfilled))
        raise InvalidRequest(f"Some parameter placeholder not filled in payload: {names}")
    return body.text


def fill_url(template: str, values: Values) -> str:
    """The URL; a request's value stays within its part of it.

    Unknown placeholders stay as in ML Commons: `HttpCaller` refuses a URL with braces.
    """
    raw = values.raw

    def put(found: re.Match[str]) -> str:
        name, default = values.find(found[1])
        if not values.has(name):
            return found[0] if default is None else default
        text = values.text(name, [])
        if name not in values.given:
            return text
        return quote(text, safe=_URL_CHARACTERS if name in raw else "")

    return _PLACEHOLDER.sub(put, template)


def fill_header(template: str, own: Mapping[str, str], credential: Mapping[str, str]) -> str:
    """A header's value from the connector's own credential and parameters; never from a request."""

    def secret(found: re.Match[str]) -> str:
        return credential.get(found[1], found[0])

    return _CREDENTIAL.sub(secret, Values(own=own).expanded(template, []))
