"""Registering by chunks: a model's fields first, then its zip in pieces, in any order, by any number of clients.

The model becomes REGISTERED by the chunk that completes it, once the whole content has the SHA-256 that was announced;
ML Commons looks at the last number only, and at the hash when it deploys.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from bridge.domain.model import CHUNK_SIZE, Model
from bridge.domain.names import ModelState
from bridge.errors import InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.models import archive
from bridge.models.cache import ContentCache
from bridge.models.chunks import Chunks
from bridge.models.contents import completed_config
from bridge.models.groups import Groups, now_ms
from bridge.models.identifier import random_id
from bridge.models.known import KnownModels
from bridge.models.naming import check_text
from bridge.models.register import LOCAL_FUNCTIONS, RegisterRequest, model_of, needs_config, read_fields
from bridge.store.documents import Documents, Stored
from bridge.wire import from_document, read_integer

log = structlog.get_logger(__name__)

MOST_BYTES = 10 << 30
_CHECKS_AT_ONCE = 2
_WRITES_AT_ONCE = 4
"""Chunks that one bridge encodes and sends at a time: each costs about 50 MB on its way."""
_TOUCH_MS = 60_000
_TRIES = 20
_NAMED = 20


@dataclass(frozen=True)
class Announced:
    """A checked request for an upload."""

    request: RegisterRequest
    total_chunks: int
    size: int | None


def parse_meta(body: Mapping[str, Any], *, most_bytes: int = MOST_BYTES) -> Announced:
    """Check the body of `_register_meta` in the order and with the words of ML Commons. Raises InvalidRequest."""
    # Unlike `_register`, ML Commons takes only upper-case formats here.
    if body.get("model_format") is not None and str(body["model_format"]) != str(body["model_format"]).upper():
        raise InvalidRequest("Wrong model format")
    document = read_fields(body)
    total = _total(body.get("total_chunks"))
    size = body.get("model_content_size_in_bytes")
    if body.get("name") is None:
        raise InvalidRequest("model name is null")
    function, model_format = document["function_name"], document["model_format"]
    if model_format is None:
        raise InvalidRequest("model format is null")
    if document["model_content_hash_value"] is None:
        raise InvalidRequest("model content hash value is null")
    if document["model_config"] is None and needs_config(function, model_format):
        raise InvalidRequest("model config is null")
    if total is None:
        raise InvalidRequest("total chunks field is null")
    if function not in LOCAL_FUNCTIONS:
        raise InvalidRequest(f"{function} models cannot be registered by chunks")
    request = from_document(RegisterRequest, document)
    check_text("Model name", request.name, required=True)
    check_text("Model description", request.description)
    _check_total(total, most_bytes)
    return Announced(request, total, None if size is None else read_integer(size))


def _total(value: Any) -> int | None:
    if isinstance(value, str):
        raise InvalidRequest("Integer value passed as String")
    if isinstance(value, float) and value != int(value):
        raise InvalidRequest(f"{value} cannot be converted to Integer without data loss")
    return None if value is None else read_integer(value)


def _check_total(total: int, most_bytes: int) -> None:
    most = max(1, -(-most_bytes // CHUNK_SIZE))
    if not 1 <= total <= most:
        raise InvalidRequest(f"total_chunks must be between 1 and {most} on this bridge, not {total}")


class Uploads:
    """Models that come in chunks."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        groups: Groups,
        chunks: Chunks,
        cache: ContentCache,
        known: KnownModels,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._models = models
        self._groups = groups
        self._chunks = chunks
        self._cache = cache
        self._known = known
        self.most_bytes = most_bytes
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._writes = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def begin(self, announced: Announced) -> str:
        """Make the model's document in state REGISTERING; gives its id. Raises NotFound for an unknown group."""
        request = announced.request
        try:
            place = await self._groups.place(request.name, request.model_group_id, request.description)
        except NotFound as error:
            raise NotFound("Fail to find model group") from error
        model = replace(
            model_of(request, place),
            model_content_size_in_bytes=announced.size,
            model_content_hash_value=str(request.model_content_hash_value),
            total_chunks=announced.total_chunks,
        )
        try:
            return (await self._models.create(model, id=random_id(), refresh=True)).id
        except BaseException:
            await self._groups.give_back(place)
            raise

    async def add(self, stored: Stored[Model], number: int, content: bytes) -> None:
        """Store one chunk; the one that completes the model makes it REGISTERED.

        Raises InvalidRequest for a number or size that cannot be, for other bytes than a complete model has, and for a
        complete content of another hash; NotFound when the model was deleted meanwhile.
        """
        _check_chunk(stored.value, number, content)
        if stored.value.model_state is not ModelState.REGISTERING:
            await self._same(stored, number, content)
            return
        async with self._writes:
            await self._chunks.put(stored, number, content)
        current = await self._models.get(stored.id)
        if current is None:
            # Whoever deleted the model may have listed its chunks before this one was written.
            await self._chunks.drop(stored.id, number)
            raise NotFound("Failed to find model")
        await self._touch(current)
        if not self._missing_of(current, await self._chunks.numbers(stored.id)):
            await self._complete(stored.id)

    async def must_be_whole(self, model_id: str) -> None:
        """Raises InvalidRequest, naming what is missing, when this is an upload that has not come to its end."""
        stored = await self._models.get(model_id)
        if stored is None or stored.value.model_state is not ModelState.REGISTERING:
            return
        if stored.value.total_chunks is None:
            raise InvalidRequest("Model not ready yet. It is being registered.")
        missing = self._missing_of(stored, await self._chunks.numbers(model_id))
        if missing:
            raise InvalidRequest(
                f"Model content is not complete: chunks {_ranges(missing)} of {stored.value.total_chunks} are missing"
            )
        raise InvalidRequest(
            f"model content changed: its SHA-256 is not {stored.value.model_content_hash_value}; upload it again"
        )

    def _missing_of(self, stored: Stored[Model], there: set[int]) -> list[int]:
        return [number for number in range(stored.value.total_chunks or 0) if number not in there]

    async def _same(self, stored: Stored[Model], number: int, content: bytes) -> None:
        if await self._chunks.content(stored.id, number) != content:
            raise InvalidRequest(
                f"Model {stored.id} is registered and its content cannot change: chunk {number} has other bytes"
            )

    async def _touch(self, stored: Stored[Model]) -> None:
        """Show that somebody is still uploading; the sweep takes away what nobody has touched for long."""
        if now_ms() - (stored.value.last_updated_time or 0) < _TOUCH_MS:
            return
        try:
            await self._models.replace(stored, replace(stored.value, last_updated_time=now_ms()))
        except VersionConflict:
            # Another client showed it just now.
            return

    async def _complete(self, model_id: str) -> None:
        # Two clients may both see the last chunk there: the second finds the model REGISTERED and has nothing to do.
        async with self._locks[model_id], self._checks:
            stored = await self._models.get(model_id)
            if stored is None or stored.value.model_state is not ModelState.REGISTERING:
                return
            workspace = await asyncio.to_thread(self._cache.workspace)
            try:
                value = await self._checked(stored, workspace / "model.zip")
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from errors
            except OSError as error:
                raise Unavailable(f"the content cannot be checked on this bridge: {error.strerror or error}") from error
            finally:
                self._locks.pop(model_id, None)
                await asyncio.to_thread(shutil.rmtree, workspace, ignore_errors=True)
            await self._finish(model_id, value)
            self._known.forget(model_id)

    async def _checked(self, stored: Stored[Model], path: Path) -> dict[str, Any]:
        """The fields that the content gives. Raises InvalidRequest for another hash and for a zip that is no model."""
        model = stored.value
        found = await self._chunks.read(stored, path)
        expected = (model.model_content_hash_value or "").strip().lower()
        if found != expected:
            log.warning(
                "model content changed", action="upload.hash", model_id=stored.id, expected=expected, found=found
            )
            raise InvalidRequest(f"model content changed: expected SHA-256 {expected}, found {found}")
        return {**await asyncio.to_thread(_described, path, model), "model_content_hash_value": found}

    async def _finish(self, model_id: str, fields: Mapping[str, Any]) -> None:
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None:
                raise NotFound("Failed to find model")
            if stored.value.model_state is not ModelState.REGISTERING:
                return
            now = now_ms()
            value = replace(
                stored.value,
                model_state=ModelState.REGISTERED,
                last_registered_time=now,
                last_updated_time=now,
                **fields,
            )
            try:
                await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            log.info("model registered", action="upload.complete", model_id=model_id, chunks=value.total_chunks)
            return
        raise Unavailable(f"model {model_id} is being written by too many at once")


def _described(path: Path, model: Model) -> dict[str, Any]:
    checked = archive.check(path, model_format=model.model_format, function_name=model.algorithm)
    return {
        "model_config": completed_config(checked, model),
        "model_content_size_in_bytes": path.stat().st_size,
    }


def _check_chunk(model: Model, number: int, content: bytes) -> None:
    if number < 0:
        raise InvalidRequest("Chunk number must not be negative")
    if number >= (model.total_chunks or 0):
        raise InvalidRequest("Chunk number exceeds total chunks")
    if not content:
        raise InvalidRequest("Chunk size either 0 or null")
    if len(content) > CHUNK_SIZE:
        raise InvalidRequest("Chunk size exceeds 10MB")


def _ranges(numbers: Iterable[int]) -> str:
    """`[0, 3-5]`, cut after a few."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:_NAMED]]
    return f"[{', '.join(shown)}{', ...' if len(spans) > _NAMED else ''}]"
