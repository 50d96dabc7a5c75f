"""What shapes an answer after it is complete, parameters and content coding: applied here where the bridge changed the
answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl

import simplejson
from aiohttp import web
from yarl import URL

from bridge.errors import NotAcceptable
from bridge.proxy.slow.upstream import Reply, json_answer
from bridge.wire import dumps_exact

_SHAPING = ("filter_path", "pretty", "human", "error_trace")
_GONE = object()
_LONG = 262_144
_YAML = ("yaml", "yml")
_WINDOWS = {"gzip": 31, "deflate": 15}
"""zlib's window bits for each content coding: the second with zlib's own header, as the cluster writes it."""
_LEVEL = 3
_LONG_TO_CODE = 32_768


def unshaped(target: str) -> str:
    """A raw target without the parameters that would make the cluster leave parts of its answer out."""
    if not any(name in target for name in _SHAPING):
        return target
    return str(URL(target, encoded=True).without_query_params("filter_path", "pretty"))


def shaped(answer: Any, target: str) -> bytes:
    """The answer's bytes as `filter_path` and `pretty` of the raw target ask for."""
    query = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
    patterns = [pattern.strip() for pattern in query.get("filter_path", "").split(",") if pattern.strip()]
    if patterns:
        answer = filtered(answer, patterns)
    if query.get("pretty", "false") in ("", "true"):
        text: str = simplejson.dumps(answer, indent=2, separators=(",", " : "), use_decimal=True, ensure_ascii=False)
        return text.encode() + b"\n"
    return dumps_exact(answer)


async def presented(answer: Any, request: web.Request, headers: Mapping[str, str], *, length: int = 0) -> web.Response:
    """An answer as the request's parameters and headers ask for it; `headers` are the cluster's, and `length` is that
    of its own answer: a long one is written while other requests go on. Raises NotAcceptable for binary formats."""
    wanted = request.query.get("format", "").lower() or _accepted(request.headers.get("Accept", ""))
    if wanted in ("cbor", "smile"):
        raise NotAcceptable(f"format [{wanted}] is not served for a search through a pipeline of this bridge")
    target = request.raw_path
    body = await asyncio.to_thread(shaped, answer, target) if length > _LONG else shaped(answer, target)
    if wanted not in _YAML:
        return await encoded(json_answer(200, body, headers), request)
    kept = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    # Whatever is JSON is YAML.
    kept["Content-Type"] = "application/yaml"
    return await encoded(web.Response(status=200, body=b"---\n" + body, headers=kept), request)


async def encoded(response: web.Response, request: web.Request) -> web.Response:
    """The answer in the content coding that the client accepts, as the cluster sends it by default: every body that is
    not empty, at level 3. A long one is coded while other requests go on."""
    coding = coding_of(request.headers.getall("Accept-Encoding", ()))
    body = response.body
    if coding is None or not isinstance(body, bytes) or not body:
        return response
    long = len(body) > _LONG_TO_CODE
    response.body = await asyncio.to_thread(_coded, body, coding) if long else _coded(body, coding)
    response.headers["Content-Encoding"] = coding
    return response


def coding_of(accepted: Iterable[str]) -> str | None:
    """The coding for the values of `Accept-Encoding`, chosen as the cluster's HTTP server does (live): names in small
    letters, also as parts of others (`x-gzip`), a quality of 0 refuses, gzip before deflate. None: as it is."""
    quality = dict.fromkeys(_WINDOWS, 0.0)
    for part in ",".join(accepted).split(","):
        _, said, weight = part.partition("=")
        for name in _WINDOWS:
            if name in part:
                quality[name] = max(quality[name], _number(weight) if said else 1.0)
                break
    best = max(quality, key=lambda name: quality[name])
    return best if quality[best] > 0 else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _coded(body: bytes, coding: str) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return packer.compress(body) + packer.flush()


async def decoded(reply: Reply) -> Any:
    """The JSON of an answer; a long one is read while other requests go on. Raises Unparsable."""
    return await asyncio.to_thread(reply.json) if len(reply.body) > _LONG else reply.json()


def _accepted(accept: str) -> str:
    return next((name for name in ("cbor", "smile", "yaml") if f"application/{name}" in accept.lower()), "")


def filtered(answer: Any, patterns: Sequence[str]) -> Any:
    """What `filter_path` leaves: paths with `*` for one step or a part of it, `**` for any steps, `-` to leave out."""
    without = [pattern[1:].split(".") for pattern in patterns if pattern.startswith("-")]
    only = [pattern.split(".") for pattern in patterns if not pattern.startswith("-")]
    if only:
        answer = _included(answer, only)
    if without and answer is not _GONE:
        answer = _excluded(answer, without)
    return {} if answer is _GONE else answer


def _next(patterns: Sequence[Sequence[str]], name: str) -> list[Sequence[str]]:
    """What is left of the patterns after a step into `name`; an empty rest means that all below is meant."""
    found: list[Sequence[str]] = []
    for pattern in patterns:
        if pattern[0] == "**":
            found.append(pattern)
            if len(pattern) > 1 and fnmatchcase(name, pattern[1]):
                found.append(pattern[2:])
        elif fnmatchcase(name, pattern[0]):
            found.append(pattern[1:])
    return found


def _included(value: Any, patterns: Sequence[Sequence[str]]) -> Any:
    if any(not pattern or list(pattern) == ["**"] for pattern in patterns):
        return value
    if isinstance(value, list):
        items = [item for item in (_included(item, patterns) for item in value) if item is not _GONE]
        return items or _GONE
    if not isinstance(value, Mapping):
        return _GONE
    found = {}
    for name, below in value.items():
        rest = _next(patterns, name)
        kept = _included(below, rest) if rest else _GONE
        if kept is not _GONE:
            found[name] = kept
    return found or _GONE


def _excluded(value: Any, patterns: Sequence[Sequence[str]]) -> Any:
    if isinstance(value, list):
        return [item for item in (_excluded(item, patterns) for item in value) if item is not _GONE]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for name, below in value.items():
        rest = _next(patterns, name)
        if not any(not pattern for pattern in rest):
            found[name] = _excluded(below, rest) if rest else below
    return found
