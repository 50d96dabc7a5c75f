"""Answers, with the generic parameters `pretty` and `filter_path`."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

_COMPACT = orjson.OPT_SERIALIZE_NUMPY
_TYPE = "application/json; charset=UTF-8"


def answer(request: web.Request, value: Any, status: int = 200) -> web.Response:
    """`value` as JSON; numpy arrays are written as lists."""
    query = request.query
    if not query:
        return web.Response(body=orjson.dumps(value, option=_COMPACT), status=status, headers={"Content-Type": _TYPE})
    paths = query.get("filter_path")
    if paths and status < 400:
        value = filtered(value, paths.split(","))
    body = orjson.dumps(value, option=_COMPACT)
    yaml = query.get("format", "").lower() in ("yaml", "yml")
    if yaml or query.get("pretty", "false") in ("", "true"):
        body = _pretty(orjson.loads(body)).encode() + b"\n"
    if yaml:
        # Whatever is JSON is YAML.
        return web.Response(body=b"---\n" + body, status=status, headers={"Content-Type": "application/yaml"})
    return web.Response(body=body, status=status, headers={"Content-Type": _TYPE})


def _pretty(value: Any, indent: str = "") -> str:
    """As the cluster writes it for `pretty`: a line for each member, `[ ]` and `{ }` for what is empty."""
    deeper = indent + "  "
    if isinstance(value, dict):
        members = [f"{orjson.dumps(key).decode()} : {_pretty(inner, deeper)}" for key, inner in value.items()]
    elif isinstance(value, list):
        members = [_pretty(inner, deeper) for inner in value]
    else:
        return orjson.dumps(value).decode()
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    if not members:
        return f"{opened} {closed}"
    return f"{opened}\n{deeper}" + f",\n{deeper}".join(members) + f"\n{indent}{closed}"


def filtered(value: Any, paths: Sequence[str]) -> Any:
    """What `filter_path` leaves: dotted patterns, `*` for one level, `**` for any, `-` in front to leave out."""
    wanted = [tuple(path.strip().split(".")) for path in paths if path.strip() and not path.strip().startswith("-")]
    unwanted = [tuple(path.strip()[1:].split(".")) for path in paths if path.strip().startswith("-")]
    kept = _included(value, wanted) if wanted else value
    return _excluded(kept if kept is not None else {}, unwanted) if unwanted else (kept if kept is not None else {})


def _next(patterns: Sequence[tuple[str, ...]], key: str) -> list[tuple[str, ...]]:
    """What is left of each pattern below `key`; an empty tuple means that all of it is meant."""
    rest: list[tuple[str, ...]] = []
    for pattern in patterns:
        if pattern[0] == "**":
            rest.append(pattern)
            rest += _next([pattern[1:]], key) if len(pattern) > 1 else [()]
        elif fnmatch.fnmatchcase(key, pattern[0]):
            rest.append(pattern[1:])
    return rest


def _included(value: Any, patterns: Sequence[tuple[str, ...]]) -> Any:
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            rest = _next(patterns, key)
            kept = inner if () in rest else _included(inner, [p for p in rest if p]) if rest else None
            if kept is not None:
                found[key] = kept
        return found or None
    if isinstance(value, list):
        items = [kept for kept in (_included(item, patterns) for item in value) if kept is not None]
        return items or None
    return None


def _excluded(value: Any, patterns: Sequence[tuple[str, ...]]) -> Any:
    if isinstance(value, dict):
        found = {}
        for key, inner in value.items():
            rest = _next(patterns, key)
            if () not in rest:
                found[key] = _excluded(inner, rest) if rest else inner
        return found
    if isinstance(value, list):
        return [_excluded(item, patterns) for item in value]
    return value
