"""Unpacked model contents on this node's disk, named by their SHA-256."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

import structlog

from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelFormat
from bridge.errors import EngineError
from bridge.models import archive
from bridge.models.archive import ModelArchive
from bridge.models.chunks import Chunks
from bridge.store.documents import Stored

log = structlog.get_logger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CHANGED = "model content changed"


class ContentCache:
    """`<folder>/<sha256>/` holds what the zip with this hash unpacks to; a folder is whole as soon as it has its name.

    Beside them stand `tmp-*`: work in progress, worthless after a crash and removed at the next start.
    """

    def __init__(self, folder: Path, chunks: Chunks) -> None:
        self._folder = folder
        self._chunks = chunks
        self._mine = f"tmp-{secrets.token_hex(4)}-"
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def prepare(self) -> None:
        """Make the folder and clear what a crash left behind; blocking."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("tmp-*"):
            # A download may have begun already: what is our own is no remains.
            if not left.name.startswith(self._mine):
                shutil.rmtree(left, ignore_errors=True)

    def workspace(self) -> Path:
        """A new empty folder on the same disk, for the caller to fill and remove."""
        made = self._folder / f"{self._mine}{secrets.token_hex(8)}"
        made.mkdir(parents=True)
        return made

    async def folder_of(self, stored: Stored[Model]) -> Path:
        """The unpacked model, from disk or from its chunks. Raises EngineError and BadArchive."""
        key = _key(stored.value.model_content_hash_value)
        async with self._locks[key]:
            target = self._folder / key
            if not await asyncio.to_thread(_touched, target):
                await self._fill(stored, key)
            return target

    async def adopt(self, checked: ModelArchive, sha256: str) -> None:
        """Unpack a zip that is on this disk already, which proves its checksums too. Raises BadArchive."""
        key = _key(sha256)
        async with self._locks[key]:
            if await asyncio.to_thread(_touched, self._folder / key):
                return
            workspace = await asyncio.to_thread(self.workspace)
            try:
                await asyncio.to_thread(self._unpack, checked, workspace, key)
            finally:
                await asyncio.to_thread(shutil.rmtree, workspace, ignore_errors=True)

    async def sweep(self, wanted: Collection[str], *, older_than: float = 3600.0) -> list[str]:
        """Remove contents that no model has (`wanted`: hashes) and that were not used for `older_than` seconds."""
        return await asyncio.to_thread(self._sweep, frozenset(wanted), older_than)

    async def _fill(self, stored: Stored[Model], key: str) -> None:
        workspace = await asyncio.to_thread(self.workspace)
        try:
            path = workspace / "model.zip"
            if await self._chunks.read(stored, path) != key:
                raise EngineError(_CHANGED)
            model = stored.value
            checked = await asyncio.to_thread(_checked, path, model.model_format, model.algorithm)
            await asyncio.to_thread(self._unpack, checked, workspace, key)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            await asyncio.to_thread(shutil.rmtree, workspace, ignore_errors=True)

    def _unpack(self, checked: ModelArchive, workspace: Path, key: str) -> None:
        content = workspace / "content"
        content.mkdir()
        checked.unpack(content)
        target = self._folder / key
        try:
            content.rename(target)
        except OSError:
            # Another process with the same cache was faster; its folder holds the same bytes.
            if not target.is_dir():
                raise

    def _sweep(self, wanted: frozenset[str], older_than: float) -> list[str]:
        limit = time.time() - older_than
        removed = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if _SHA256.match(path.name) and path.name not in wanted and path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
                log.info("model content removed from disk", action="cache.sweep", sha256=path.name)
        return removed


def _key(sha256: str | None) -> str:
    # The hash comes from a document that others may write, and it becomes a path.
    key = (sha256 or "").lower()
    if not _SHA256.match(key):
        raise EngineError("the model document carries no SHA-256 of its content")
    return key


def _touched(path: Path) -> bool:
    if not path.is_dir():
        return False
    path.touch()
    return True


def _checked(path: Path, model_format: ModelFormat | None, function_name: FunctionName) -> ModelArchive:
    return archive.check(path, model_format=model_format, function_name=function_name)
