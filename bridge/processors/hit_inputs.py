"""Gathers a model's inputs from the hits of a search (contract/processors.md section 3). Pure but for the request,
which is asked for only where a path reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import simplejson

from bridge.errors import InvalidRequest
from bridge.processors.inference_config import InferenceConfig, InputMap
from bridge.processors.java_text import hashed
from bridge.processors.jsonpath import path_of
from bridge.processors.search import Json, SearchContext
from bridge.processors.template import json_text

_REQUEST = "_request."
_FALLBACK = "$.query."
"""A document path that reads the request where no hit has such a field (contract/processors.md section 15)."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The inputs of one model call and the hits, by their places, that its answer belongs to."""

    at: int
    hits: tuple[int, ...]
    inputs: Mapping[str, Any]


class HitInputs:
    """What the hits of one search hold. Raises InvalidRequest from its methods as the real server does."""

    def __init__(self, config: InferenceConfig, hits: Sequence[Json], context: SearchContext) -> None:
        self._config = config
        self._hits = hits
        self._context = context
        self._request: Mapping[str, Any] | None = None

    async def gather(self, *, one_to_one: bool) -> list[Gathered]:
        """The calls to make, map by map; none for a map whose required fields no hit has (with ignore_missing)."""
        if not self._config.inputs:
            return self._grouped(0, self._whole(), one_to_one)
        found = []
        for at, mapping in enumerate(self._config.inputs):
            shared = await self._shared(mapping, self._config.required_at(at))
            below = {name: path for name, path in mapping.items() if name not in shared and not _asks_request(path)}
            required = [path for name, path in self._config.required_at(at).items() if name in below]
            rows = await self._rows(below, required, mapping)
            found += self._grouped(at, rows, one_to_one, {n: v for n, v in shared.items() if v is not None})
        return found

    def _whole(self) -> list[tuple[int, dict[str, Any]]]:
        """Without an input map every field of a document is an input."""
        documents = [(at, hit.get("_source")) for at, hit in enumerate(self._hits)]
        return [(at, hashed(document)) for at, document in documents if isinstance(document, dict)]

    def _grouped(
        self,
        at: int,
        rows: Sequence[tuple[int, dict[str, Any]]],
        one_to_one: bool,
        shared: Mapping[str, Any] | None = None,
    ) -> list[Gathered]:
        if one_to_one:
            return [Gathered(at=at, hits=(place,), inputs={**row, **(shared or {})}) for place, row in rows]
        if not rows:
            return []
        lists: dict[str, Any] = {}
        for _, row in rows:
            for name, value in row.items():
                lists.setdefault(name, []).append(value)
        return [Gathered(at=at, hits=tuple(place for place, _ in rows), inputs={**lists, **(shared or {})})]

    async def _rows(
        self, below: InputMap, required: Sequence[str], mapping: InputMap
    ) -> list[tuple[int, dict[str, Any]]]:
        """The values of each hit that has the required fields, in rank order."""
        rows = []
        for place, hit in enumerate(self._hits):
            document = Document(hit.get("_source"))
            if all(self._has(document, path) for path in required):
                found = {name: document.read(path) for name, path in below.items()}
                rows.append((place, {name: value for name, value in found.items() if value is not None}))
            elif not self._config.ignore_missing:
                raise InvalidRequest(
                    f"cannot find all required input fields: {_listed(mapping)} in hit:{pretty(hit)} and query "
                    f"body:{json_text(await self._source())}"
                )
        return rows

    def _has(self, document: Document, path: str) -> bool:
        return path in self._config.model_config or document.read(path) is not None

    async def _shared(self, mapping: InputMap, required: InputMap) -> dict[str, Any]:
        """What comes from the request and is the same for all hits; None where nothing was found."""
        found: dict[str, Any] = {}
        for name, path in mapping.items():
            if _asks_request(path):
                where = path.replace(_REQUEST, "", 1)
                found[name] = await self._of_request(where)
                if found[name] is None and self._refuses(name, where, required):
                    raise InvalidRequest(
                        f"Missing required input field in query body. input_map: {_listed(mapping)}, query "
                        f"body:{json_text(await self._source())}"
                    )
            elif path.startswith(_FALLBACK) and not self._in_any_hit(path):
                value = await self._of_request(path)
                if value is not None:
                    found[name] = value
        return found

    def _refuses(self, name: str, where: str, required: InputMap) -> bool:
        return name in required and where not in self._config.model_config and not self._config.ignore_missing

    def _in_any_hit(self, path: str) -> bool:
        return any(Document(hit.get("_source")).read(path) is not None for hit in self._hits)

    async def _of_request(self, path: str) -> Any:
        value = path_of(path).read(await self._source(), nulls=True)
        return None if value is None else json_text(value)

    async def _source(self) -> Mapping[str, Any]:
        if self._request is None:
            self._request = await self._context.request()
        return self._request


class Document:
    """The source of a hit, whose objects ML Commons reads in the order of Java's hash maps."""

    def __init__(self, source: Any) -> None:
        self._source = source

    @cached_property
    def _hashed(self) -> Any:
        return hashed(self._source)

    def read(self, path: str) -> Any:
        """What a path finds; None where nothing is. Raises InvalidRequest as `Path.read`."""
        if self._source is None:
            return None
        compiled = path_of(path)
        if compiled.ordered:
            return compiled.read(self._hashed, nulls=True)
        return hashed(compiled.read(self._source, nulls=True))


def _asks_request(path: str) -> bool:
    return path.startswith((_REQUEST, "$." + _REQUEST))


def _listed(mapping: InputMap) -> str:
    return "[" + ", ".join(mapping.values()) + "]"


def pretty(hit: Json) -> str:
    """A hit as the real server prints it in an error."""
    spaced = _spaced(hit)
    return str(simplejson.dumps(spaced, use_decimal=True, ensure_ascii=False, indent=2, separators=(",", " : ")))


def _spaced(value: Any) -> Any:
    """With the blank that stands in empty lists and objects there."""
    if isinstance(value, dict):
        return {key: _spaced(below) for key, below in value.items()} or simplejson.RawJSON("{ }")
    if isinstance(value, list):
        return [_spaced(item) for item in value] or simplejson.RawJSON("[ ]")
    return value
