"""Answers, with the generic parameters `pretty` and `filter_path`."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from bridge.errors import EngineError
from bridge.rest.parameters import last
from bridge.wire import dumps_exact

_COMPACT = orjson.OPT_SERIALIZE_NUMPY
JSON = "application/json; charset=UTF-8"


def answer(request: web.Request, value: Any, status: int = 200) -> web.Response:
    """`value` as JSON; numpy arrays are written as lists. Raises EngineError for what is nested too deep (some hundred
    levels) for its `filter_path`."""
    if not request.query:
        return web.Response(body=_written(value), status=status, headers={"Content-Type": JSON})
    paths = last(request, "filter_path")
    if paths and status < 400:
        value = _filtered(value, paths.split(","))
    yaml = last(request, "format").lower() in ("yaml", "yml")
    pretty = yaml or last(request, "pretty", "false") in ("", "true")
    body = _spread(value, pretty=True) + b"\n" if pretty else _written(value)
    if yaml:
        # Whatever is JSON is YAML.
        return web.Response(body=b"---\n" + body, status=status, headers={"Content-Type": "application/yaml"})
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=_COMPACT)
    except TypeError:
        # More than 254 levels, integers of more than 64 bits, decimals: a remote model may answer such things.
        return _spread(value, pretty=False)


def _spread(value: Any, *, pretty: bool) -> bytes:
    """JSON of any depth and length of numbers; as the cluster writes it for `pretty`: a line for each member, `[ ]` and
    `{ }` for what is empty."""
    out: list[bytes] = []
    # Values that are still to be written with their depth, and between them bytes that are JSON already.
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        if isinstance(one, bytes):
            out.append(one)
            continue
        if isinstance(one, (np.ndarray, np.generic)):
            one = orjson.loads(orjson.dumps(one, option=_COMPACT))
        if not isinstance(one, (dict, list, tuple)):
            out.append(_scalar(one))
            continue
        opened, closed = (b"{", b"}") if isinstance(one, dict) else (b"[", b"]")
        if not one:
            out.append(opened + (b" " if pretty else b"") + closed)
            continue
        colon = b" : " if pretty else b":"
        named = [(_scalar(key) + colon, inner) for key, inner in one.items()] if isinstance(one, dict) else None
        line, last_line = (b"\n" + b"  " * (depth + 1), b"\n" + b"  " * depth) if pretty else (b"", b"")
        parts: list[tuple[Any, int]] = []
        for name, inner in named or [(b"", inner) for inner in one]:
            parts += [((b"," if parts else opened) + line + name, 0), (inner, depth + 1)]
        todo += reversed([*parts, (last_line + closed, 0)])
    return b"".join(out)


def _scalar(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return dumps_exact(value)


def _filtered(value: Any, paths: Sequence[str]) -> Any:
    try:
        return filtered(value, paths)
    except RecursionError as error:
        raise EngineError("the answer is nested too deep for filter_path") from error


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
