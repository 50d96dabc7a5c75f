"""Request bodies, refused with the words that OpenSearch has for them."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from bridge.errors import InvalidRequest, NotAcceptable, Unparsable, WrongToken
from bridge.rest.shapes import Shape, place_of
from bridge.wire import loads, loads_once, read_text, token_of

ANY = Shape({})
_JSON = ("application/json", "application/vnd.opensearch+json", "application/x-ndjson")

_LONG = re.compile(rb"[0-9]{19}")
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*(;.*)?")


def is_media_type(text: str) -> bool:
    """Whether a text has the form of a content type (`type/subtype`, parameters unread)."""
    return _MEDIA_TYPE.fullmatch(text) is not None


async def read_body(request: web.Request) -> bytes:
    """The whole body. Raises NotAcceptable when there is one and its content type is not JSON, and InvalidRequest
    when that is no content type."""
    raw = (await request.read()).removeprefix(BOM_UTF8)
    if raw.strip():
        kind = request.headers.get("Content-Type", "")
        if kind and not is_media_type(kind):
            reason = f"invalid Content-Type header [{kind}]"
            caused_by = {"type": "illegal_argument_exception", "reason": reason}
            raise InvalidRequest(
                f"java.lang.IllegalArgumentException: {reason}",
                kind="content_type_header_exception",
                caused_by=caused_by,
            )
        if kind.split(";")[0].strip().lower() not in _JSON:
            raise NotAcceptable(f"Content-Type header [{kind}] is not supported")
        return raw
    return b""


async def read_object(request: web.Request, shape: Shape = ANY) -> dict[str, Any] | None:
    """The body as a JSON object of this shape; None when there is none. Raises Unparsable, for a field given twice
    too, InvalidRequest and NotAcceptable."""
    raw = await read_body(request)
    if not raw:
        return None
    body = _object(raw, loads_once(raw))
    shape.check(raw, body)
    return body


def parse_object(raw: bytes) -> dict[str, Any]:
    """The quick way, for predictions: of a field given twice the last counts. Raises Unparsable."""
    value = loads(raw)
    # Integers of more than 64 bits have become floats; a remote model is to get every digit.
    return _object(raw, json.loads(raw) if _LONG.search(raw) else value)


def _object(raw: bytes, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    column = len(raw) - len(raw.lstrip()) + 1
    raise Unparsable(
        f"Failed to parse object: expecting token of type [START_OBJECT] but found [{token_of(value)}]",
        line=1,
        col=column,
    )


async def required_object(request: web.Request, empty: InvalidRequest, shape: Shape = ANY) -> dict[str, Any]:
    """Like `read_object`, raising `empty` when there is no body."""
    body = await read_object(request, shape)
    if body is None:
        raise empty
    return body


async def read_lists(request: web.Request, shape: Shape) -> dict[str, list[str] | None]:
    """The fields of a shape of lists of texts, None where absent. Raises as `read_object`."""
    body = await read_object(request, shape) or {}
    found: dict[str, list[str] | None] = dict.fromkeys(shape.kinds)
    found.update({name: [read_text(item) for item in body[name]] for name in shape.kinds if name in body})
    return found


@contextmanager
def positions(raw: bytes) -> Iterator[None]:
    """Adds to a WrongToken raised inside where in `raw` the value stands, as the cluster's parser says it."""
    try:
        yield
    except WrongToken as error:
        error.details.update(_place(raw, error.field))
        raise


def _place(raw: bytes, name: str) -> dict[str, Any]:
    place = place_of(raw, name)
    if place.after > place.column:
        return {"line": place.line, "col": place.column}
    # Somewhere below: the first of that name.
    found = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*', raw)
    before = raw[: found.end()] if found else b""
    return {"line": before.count(b"\n") + 1, "col": len(before) - before.rfind(b"\n")}
