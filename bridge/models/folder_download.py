"""Fetching a Hugging Face folder, file by file, from a URL that ends with `/`."""

from __future__ import annotations

import asyncio
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from bridge.models import model_folder
from bridge.models.download import Downloaded, Downloader, DownloadFailed, Missing, Progress, sha256_of

_SMALL = 64 << 20
"""Largest JSON file of a folder; tokenizers reach 20 MB."""


@dataclass
class _Fetch:
    """One folder on its way: `left` bytes may still come."""

    downloader: Downloader
    url: str
    folder: Path
    left: int

    async def needed(self, name: str, most: int | None = None) -> Path:
        """Raises DownloadFailed, Missing when it is not there."""
        target = self.folder / name
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        limit = self.left if most is None else min(self.left, most)
        got = await self.downloader.fetch(self.url + urllib.parse.quote(name), target, _nothing, most=limit)
        self.left -= got.size
        return target

    async def optional(self, name: str) -> bytes | None:
        """A small file's content; None when there is none."""
        try:
            path = await self.needed(name, _SMALL)
        except Missing:
            await asyncio.to_thread((self.folder / name).unlink, missing_ok=True)
            return None
        return await asyncio.to_thread(path.read_bytes)


async def fetch_folder(downloader: Downloader, url: str, workspace: Path, progress: Progress) -> Downloaded:
    """Fetch what makes the model at `url` and pack it into one zip below `workspace`, always the same bytes.

    Raises DownloadFailed; BadFolder for a folder that is no model.
    """
    try:
        async with asyncio.timeout(downloader.limits.total_seconds):
            return await _fetched(downloader, url, workspace, progress)
    except TimeoutError as error:
        raise DownloadFailed(f"{url} took longer than {downloader.limits.total_seconds:g} s") from error


async def _fetched(downloader: Downloader, url: str, workspace: Path, progress: Progress) -> Downloaded:
    fetch = _Fetch(downloader, url, workspace / "folder", downloader.limits.max_bytes)
    await fetch.needed(model_folder.TOKENIZER, _SMALL)
    config = await fetch.optional(model_folder.CONFIG)
    weights = await _weights(fetch) if config is not None else []
    modules = await fetch.optional(model_folder.MODULES)
    if modules is not None:
        configs, dense = model_folder.module_files(modules)
        for name in configs:
            await fetch.optional(name)
        weights += dense
    for name in model_folder.EXTRAS:
        await fetch.optional(name)
    for done, name in enumerate(weights):
        await fetch.needed(name)
        await progress((done + 1) / len(weights))
    target = workspace / "model.zip"
    await asyncio.to_thread(model_folder.pack, fetch.folder, target, None, consume=True)
    return await asyncio.to_thread(_measured, target)


async def _weights(fetch: _Fetch) -> list[str]:
    index = await fetch.optional(model_folder.INDEX)
    return [model_folder.WEIGHTS] if index is None else list(model_folder.shards_in(index))


def _measured(path: Path) -> Downloaded:
    return Downloaded(path, path.stat().st_size, sha256_of(path))


async def _nothing(_: float) -> None:
    return
