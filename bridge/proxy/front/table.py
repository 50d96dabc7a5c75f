"""The lane table: what the application tells every front process about pipelines and words of ours.

A JSON file, and beside it a counter of 8 bytes that fronts map into memory: comparing it costs nanoseconds, so a
front may ask before every request. The JSON is in place before the counter moves, so who sees the new count reads
the new table.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_TABLE = "lanes.json"
_COUNTER = "lanes.version"
WORDS = ("neural", "search_pipeline", "ml_inference", "rerank", "generative_qa_parameters")
"""Queries that need a model, pipelines in a body, and sections of `ext` that only processors of ours read."""


@dataclass(frozen=True, slots=True)
class Table:
    """`ingest_pipelines` and `search_pipelines` are names of pipelines that hold a processor of ours; `words` are
    what makes a search body worth a look. `known` is False until the application has spoken."""

    version: int = 0
    ingest_pipelines: frozenset[str] = frozenset()
    search_pipelines: frozenset[str] = frozenset()
    words: tuple[bytes, ...] = tuple(word.encode() for word in WORDS)
    known: bool = False


class LaneTable:
    """The writing side, one per application process; `publish` is atomic and makes every front read again."""

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self._dir = Path(run_dir)
        self._dir.mkdir(parents=True, exist_ok=True)
        self._counter = _create_counter(self._dir)

    def publish(
        self,
        *,
        ingest_pipelines: list[str],
        search_pipelines: list[str] | None = None,
        words: list[str] | None = None,
    ) -> int:
        """Write the table and return its version. Also call it with the same content when verdicts must be
        forgotten (an index's settings, a template or an alias changed). Raises OSError."""
        version = _read(self._counter) + 1
        table = {
            "version": version,
            "ingest_pipelines": sorted(ingest_pipelines),
            "words": list(WORDS) if words is None else words,
            "search_pipelines": sorted(search_pipelines or ()),
        }
        draft = self._dir / f"{_TABLE}.{os.getpid()}"
        draft.write_text(json.dumps(table))
        draft.replace(self._dir / _TABLE)
        self._counter[:8] = struct.pack("<Q", version)
        return version

    def close(self) -> None:
        self._counter.close()


class TableReader:
    """The reading side. `current` is called on the event loop's thread for each request that needs the table."""

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self._dir = Path(run_dir)
        self._counter: mmap.mmap | None = None
        self._seen = b""
        self._table = Table()
        self._misses = 0

    def current(self) -> Table:
        """The table as published last; one with `known` False as long as there is none."""
        counter = self._counter
        if counter is None:
            # Looking for the file costs a system call: not on each of the requests before the first table.
            self._misses += 1
            if self._misses % 16 != 1:
                return self._table
            counter = self._counter = _open_counter(self._dir)
            if counter is None:
                return self._table
        stamp = counter[:8]
        if stamp != self._seen:
            self._reload(stamp)
        return self._table

    def _reload(self, stamp: bytes) -> None:
        try:
            raw = json.loads((self._dir / _TABLE).read_text())
            self._table = Table(
                version=int(raw["version"]),
                ingest_pipelines=frozenset(raw["ingest_pipelines"]),
                search_pipelines=frozenset(raw.get("search_pipelines", ())),
                words=tuple(word.encode() for word in raw["words"]),
                known=True,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # An unreadable table counts as none: whatever could be ours then goes to the application.
            self._table = Table(version=struct.unpack("<Q", stamp)[0])
        self._seen = stamp

    def close(self) -> None:
        if self._counter is not None:
            self._counter.close()
            self._counter = None


def _create_counter(folder: Path) -> mmap.mmap:
    path = folder / _COUNTER
    if not path.exists():
        draft = folder / f"{_COUNTER}.{os.getpid()}"
        draft.write_bytes(bytes(8))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def _open_counter(folder: Path) -> mmap.mmap | None:
    try:
        with (folder / _COUNTER).open("rb") as file:
            return mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None


def _read(counter: mmap.mmap) -> int:
    return int(struct.unpack("<Q", counter[:8])[0])
