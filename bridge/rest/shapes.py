"""What JSON kinds the fields of a body have. Field by field in the body's own order, as the reference reads it, a value
of another kind is refused with the words that its parser has for it, place included.

Rule: reference behaviour of ML Commons 3.6.0; it answers 500 where a text is expected, and the bridge 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import InvalidRequest, Unparsable, WrongToken
from bridge.json_fault import SOURCE
from bridge.wire import read_flag, token_of

_NO_TEXT = ("START_OBJECT", "START_ARRAY", "VALUE_NULL")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BLANKS = re.compile(r"[ \t\r\n]*")
_MEMBERS = json.JSONDecoder(parse_float=str, parse_int=str)


@dataclass(frozen=True)
class Place:
    """Where a value begins, line and column from 1, and the column behind it (behind the bracket of a nested one)."""

    line: int
    column: int
    after: int


@dataclass(frozen=True)
class Shape:
    """Fields by their kinds; others are not looked at. `refusal` is the error type for what is no text."""

    kinds: Mapping[str, str]
    refusal: str = "illegal_argument_exception"

    def check(self, raw: bytes, body: Mapping[str, Any]) -> None:
        """Raises InvalidRequest, or Unparsable, for the first field whose value has another kind."""
        for name, value in body.items():
            kind = self.kinds.get(name)
            if kind is not None:
                self._check(raw, name, kind, value)

    def _check(self, raw: bytes, name: str, kind: str, value: Any) -> None:
        token = token_of(value)
        match kind:
            case "text" if token in _NO_TEXT:
                self._no_text(token, place_of(raw, name))
            case "object" if token != "START_OBJECT":
                raise _placed(WrongToken(name, "START_OBJECT", token), raw)
            case "texts" | "objects" if token != "START_ARRAY":
                raise _placed(WrongToken(name, "START_ARRAY", token), raw)
            case "texts" | "objects":
                for at, item in enumerate(value):
                    self._check_item(raw, name, kind, at, token_of(item))
            case "flag" if not isinstance(value, bool | str):
                raise _no_scalar(raw, name, value, "not of boolean type")
            case "flag":
                read_flag(value)
            case "integer" | "long" if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise _no_scalar(raw, name, value, "not numeric, can not use numeric value accessors")
            case "long" if isinstance(value, str) and not _NUMBER.fullmatch(value):
                raise InvalidRequest(f'For input string: "{value}"')

    def _check_item(self, raw: bytes, name: str, kind: str, at: int, token: str) -> None:
        if kind == "objects" and token != "START_OBJECT":
            raise _placed(WrongToken(name, "START_OBJECT", token), raw, at)
        if kind == "texts" and token in _NO_TEXT:
            self._no_text(token, place_of(raw, name, at))

    def _no_text(self, token: str, place: Place) -> None:
        raise InvalidRequest(f"Can't get text on a {token} at {place.line}:{place.column}", kind=self.refusal)


def _placed(error: WrongToken, raw: bytes, item: int | None = None) -> WrongToken:
    place = place_of(raw, error.field, item)
    error.details.update(line=place.line, col=place.column)
    return error


def _no_scalar(raw: bytes, name: str, value: Any, problem: str) -> Unparsable:
    place = place_of(raw, name)
    where = SOURCE.format(place.line, place.after)
    return Unparsable(f"Current token ({_exact_token(value)}) {problem}\n at {where}", kind="json_parse_exception")


def _exact_token(value: Any) -> str:
    """Jackson's name of a token, where the server's own parser has fewer."""
    if isinstance(value, bool):
        return "VALUE_TRUE" if value else "VALUE_FALSE"
    names = {int: "VALUE_NUMBER_INT", float: "VALUE_NUMBER_FLOAT"}
    return names.get(type(value), token_of(value))


def place_of(raw: bytes, name: str, item: int | None = None) -> Place:
    """Where the value of a member of the outermost object stands, or one item of it; the start where it is not found.

    `raw` is JSON, as whoever asks has read it before. Columns count bytes, as the cluster's parser does.
    """
    text = raw.decode("utf-8", "replace")
    start, end = _member(text, name)
    if item is not None:
        start, end = _item(text, start, item)
    before = text[:start].encode()
    column = len(before) - before.rfind(b"\n")
    nested = text[start : start + 1] in ("{", "[")
    return Place(before.count(b"\n") + 1, column, column + (1 if nested else len(text[start:end].encode())))


def _member(text: str, name: str) -> tuple[int, int]:
    at = _past(text, _past(text, 0) + 1)
    while text[at : at + 1] == '"':
        found, at = _MEMBERS.raw_decode(text, at)
        start = _past(text, _past(text, at) + 1)
        _, end = _MEMBERS.raw_decode(text, start)
        if found == name:
            return start, end
        at = _past(text, _past(text, end) + 1)
    return 0, 0


def _item(text: str, start: int, item: int) -> tuple[int, int]:
    at = _past(text, start + 1)
    _, end = _MEMBERS.raw_decode(text, at)
    for _ in range(item):
        at = _past(text, _past(text, end) + 1)
        _, end = _MEMBERS.raw_decode(text, at)
    return at, end


def _past(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _shape(refusal: str = "illegal_argument_exception", **names: str) -> Shape:
    return Shape({name: kind for kind, listed in names.items() for name in listed.split()}, refusal)


MODEL = _shape(
    text="name function_name version description model_group_id model_format url model_content_hash_value connector_id"
    " access_mode",
    object="model_config rate_limiter deploy_setting guardrails",
    texts="model_node_ids backend_roles",
    flag="is_enabled add_all_backend_roles is_hidden",
)
MODEL_META = _shape(
    text="name function_name version description model_group_id model_format model_content_hash_value access_mode",
    object="model_config rate_limiter deploy_setting",
    texts="backend_roles",
    flag="is_enabled add_all_backend_roles is_hidden",
    integer="total_chunks",
    long="model_content_size_in_bytes",
)
MODEL_UPDATE = _shape(
    refusal="parse_exception",
    text="name description model_group_id connector_id",
    object="model_config rate_limiter deploy_setting connector guardrails",
    flag="is_enabled",
)
GROUP = _shape(text="name description access_mode", texts="backend_roles", flag="add_all_backend_roles")
_CONNECTOR = {
    "text": "name version description protocol access_mode",
    "object": "client_config",
    "objects": "actions",
    "texts": "backend_roles",
    "flag": "add_all_backend_roles",
}
CONNECTOR = _shape(**_CONNECTOR)
CONNECTOR_UPDATE = _shape(refusal="parse_exception", **_CONNECTOR)
CONTROLLER = _shape(text="model_id")
NODES = _shape(texts="node_ids")
MODELS_AND_NODES = _shape(texts="model_ids node_ids")
PROFILE = _shape(texts="model_ids task_ids node_ids")
STATS = _shape(
    texts="target_stat_levels cluster_level_stats node_level_stats action_level_stats node_ids algorithms models"
    " actions"
)
PREDICT = _shape(flag="return_number return_bytes")
