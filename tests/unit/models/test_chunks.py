"""Contents in chunks: written, read back, cut, changed and removed."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from fake_inference import zipped
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.model import Model
from bridge.domain.names import ModelFormat
from bridge.errors import EngineError
from bridge.models import chunks as module
from bridge.models.cache import ContentCache
from bridge.models.chunks import Chunks, count
from bridge.store.documents import Stored, Version
from bridge.store.stores import Stores

SMALL = 50


async def nobody(_: float) -> None:
    return


@given(st.integers(0, 10**12))
def test_count_covers_every_byte_with_the_fewest_chunks(size: int) -> None:
    assert (count(size) - 1) * 10_000_000 < max(1, size) <= count(size) * 10_000_000


class Written:
    def __init__(self, stores: Stores, folder: Path, content: bytes) -> None:
        self.stores, self.content, self.folder = stores, content, folder
        self.chunks = Chunks(stores.chunks)
        self.cache = ContentCache(folder / "models", self.chunks)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.model = Model(name="m", model_format=ModelFormat.ONNX, model_content_hash_value=self.sha256)

    async def write(self) -> Stored[Model]:
        path = self.folder / "source.zip"
        path.write_bytes(self.content)
        total = await self.chunks.write("m", self.model, path, len(self.content), nobody)
        return Stored("m", replace(self.model, total_chunks=total), Version(1, 1))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.setattr(module, "CHUNK_SIZE", SMALL)
    return Written(Stores.in_memory(), tmp_path, zipped())


async def test_read_back_as_written(written: Written, tmp_path: Path) -> None:
    stored = await written.write()
    assert stored.value.total_chunks == -(-len(written.content) // SMALL)
    assert await written.chunks.read(stored, tmp_path / "back.zip") == written.sha256
    assert (tmp_path / "back.zip").read_bytes() == written.content
    first = await written.stores.chunks.get("m_0")
    assert first is not None
    assert base64.b64decode(first.value.model_content or "") == written.content[:SMALL]


async def test_the_cache_asks_once_and_keeps_what_is_whole(written: Written) -> None:
    stored = await written.write()
    folder = await written.cache.folder_of(stored)
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "tokenizer.json"]
    await written.chunks.delete("m", stored.value.total_chunks)
    assert await written.cache.folder_of(stored) == folder
    assert await written.cache.sweep([written.sha256], older_than=-1) == []
    assert await written.cache.sweep([], older_than=-1) == [written.sha256]
    with pytest.raises(EngineError, match="chunk 0 of the model is missing"):
        await written.cache.folder_of(stored)
    assert list((written.folder / "models").iterdir()) == []


async def test_changed_content_is_never_opened(written: Written) -> None:
    stored = await written.write()
    last = await written.stores.chunks.get(f"m_{(stored.value.total_chunks or 0) - 1}")
    assert last is not None
    changed = base64.b64encode(b"other bytes").decode()
    await written.stores.chunks.replace(last, replace(last.value, model_content=changed))
    with pytest.raises(EngineError, match="model content changed"):
        await written.cache.folder_of(stored)
    assert list((written.folder / "models").iterdir()) == []


@pytest.mark.parametrize("sha256", [None, "", "../../etc", "A" * 63])
async def test_a_hash_that_is_none_never_becomes_a_path(written: Written, sha256: str | None) -> None:
    stored = await written.write()
    odd = Stored("m", replace(stored.value, model_content_hash_value=sha256), stored.version)
    with pytest.raises(EngineError, match="no SHA-256"):
        await written.cache.folder_of(odd)


async def test_everything_is_removed_even_what_nobody_counted(written: Written) -> None:
    await written.write()
    await written.chunks.delete("m", None)
    assert list(await written.stores.chunks.search({"match_all": {}})) == []
