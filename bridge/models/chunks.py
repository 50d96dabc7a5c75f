"""A model's zip as base64 chunks in the cluster, written and read a few at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from bridge.domain.model import CHUNK_SIZE, Model, ModelChunk, chunk_id
from bridge.errors import ClusterUnavailable, EngineError
from bridge.store.documents import Documents, Stored

AT_ONCE = 2
"""Chunks in flight: each costs about 50 MB of memory on its way, and two keep one data node busy."""
_DELETES_AT_ONCE = 4
_PATIENCE_SECONDS = 60.0

Done = Callable[[float], Awaitable[None]]


def count(size: int) -> int:
    """How many chunks `size` bytes make."""
    return max(1, -(-size // CHUNK_SIZE))


class Chunks:
    """Chunk documents; they share the model index and never count as models."""

    def __init__(self, documents: Documents[ModelChunk]) -> None:
        self._documents = documents

    async def write(self, model_id: str, model: Model, path: Path, size: int, done: Done) -> int:
        """Store the file's bytes; gives the number of chunks. `done` hears the share written, 0 to 1."""
        total = count(size)
        gate = asyncio.Semaphore(AT_ONCE)
        written = 0

        async def one(number: int) -> None:
            nonlocal written
            async with gate:
                content = await asyncio.to_thread(_encoded, path, number)
                chunk = ModelChunk(
                    name=model.name,
                    algorithm=model.algorithm,
                    model_version=model.model_version,
                    model_content=content,
                    model_format=model.model_format,
                    created_time=model.created_time,
                    last_updated_time=model.last_updated_time,
                    model_id=model_id,
                    chunk_number=number,
                    total_chunks=total,
                    is_hidden=model.is_hidden,
                )
                await self._put(chunk_id(model_id, number), chunk)
                written += 1
                await done(written / total)

        async with asyncio.TaskGroup() as group:
            for number in range(total):
                group.create_task(one(number))
        return total

    async def put(self, stored: Stored[Model], number: int, content: bytes) -> None:
        """Store one chunk that a client brought, over whatever stands there. Raises ClusterUnavailable."""
        model = stored.value
        encoded = await asyncio.to_thread(base64.b64encode, content)
        chunk = ModelChunk(
            model_group_id=model.model_group_id,
            algorithm=model.algorithm,
            model_version=model.model_version,
            model_content=encoded.decode("ascii"),
            model_format=model.model_format,
            model_id=stored.id,
            chunk_number=number,
            total_chunks=model.total_chunks,
        )
        await self._put(chunk_id(stored.id, number), chunk)

    async def content(self, model_id: str, number: int) -> bytes | None:
        """The bytes of one chunk; None when it is not there. Raises EngineError when it is unreadable."""
        stored = await self._documents.get(chunk_id(model_id, number))
        if stored is None or stored.value.model_content is None:
            return None
        return await asyncio.to_thread(_decoded, stored.value.model_content, number)

    async def numbers(self, model_id: str) -> set[int]:
        """The numbers of the chunks that are stored now."""
        await self._documents.refresh()
        ids = await self._documents.ids({"term": {"model_id": model_id}})
        ends = (each.rpartition("_")[2] for each in ids)
        return {int(end) for end in ends if end.isdecimal()}

    async def drop(self, model_id: str, number: int) -> None:
        """Remove one chunk."""
        await self._documents.delete(chunk_id(model_id, number))

    async def read(self, stored: Stored[Model], target: Path) -> str:
        """Write the zip to `target` and give its SHA-256. Raises EngineError when a chunk is missing or unreadable."""
        total = stored.value.total_chunks or 0
        if total < 1:
            raise EngineError("the model has no content in the cluster")
        digest = hashlib.sha256()
        with target.open("wb") as file:
            async with asyncio.TaskGroup() as group:
                ahead = [group.create_task(self._content(stored.id, n)) for n in range(min(AT_ONCE, total))]
                for number in range(total):
                    content = await ahead.pop(0)
                    if number + AT_ONCE < total:
                        ahead.append(group.create_task(self._content(stored.id, number + AT_ONCE)))
                    await asyncio.to_thread(_append, file, digest, content)
                    del content
        return digest.hexdigest()

    async def delete(self, model_id: str, total: int | None) -> None:
        """Remove all chunks of a model, those that a broken attempt left included."""
        ids = {chunk_id(model_id, number) for number in range(total or 0)}
        await self._documents.refresh()
        ids.update(await self._documents.ids({"term": {"model_id": model_id}}))
        gate = asyncio.Semaphore(_DELETES_AT_ONCE)

        async def one(each: str) -> None:
            async with gate:
                await self._documents.delete(each)

        async with asyncio.TaskGroup() as group:
            for each in sorted(ids):
                group.create_task(one(each))

    async def _put(self, id: str, chunk: ModelChunk) -> None:
        """Overwriting is right: an earlier attempt of the same task wrote the same bytes under the same id.

        A small heap turns chunks away until it has digested the last ones: patience helps. Raises ClusterUnavailable.
        """
        tries = AsyncRetrying(
            stop=stop_after_delay(_PATIENCE_SECONDS),
            wait=wait_random_exponential(multiplier=1, max=10),
            retry=retry_if_exception_type(ClusterUnavailable),
            reraise=True,
        )
        async for attempt in tries:
            with attempt:
                await self._documents.put(id, chunk)

    async def _content(self, model_id: str, number: int) -> bytes:
        stored = await self._documents.get(chunk_id(model_id, number))
        if stored is None or not stored.value.model_content:
            raise EngineError(f"chunk {number} of the model is missing in the cluster")
        content = stored.value.model_content
        del stored
        return await asyncio.to_thread(_decoded, content, number)


def _encoded(path: Path, number: int) -> str:
    with path.open("rb") as file:
        file.seek(number * CHUNK_SIZE)
        return base64.b64encode(file.read(CHUNK_SIZE)).decode("ascii")


def _decoded(content: str, number: int) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EngineError(f"chunk {number} of the model is not base64") from error


def _append(file: BinaryIO, digest: hashlib._Hash, content: bytes) -> None:
    digest.update(content)
    file.write(content)
