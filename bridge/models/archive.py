"""A model's zip, which nobody trusts: checked without opening a single entry, then unpacked within what it declared."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bridge.domain.names import FunctionName, ModelFormat
from bridge.errors import InvalidRequest

MAX_ENTRIES = 10_000
MAX_DIRECTORY = 4 << 20
"""Bytes of the central directory: the library reads it whole, so a million entries would cost a gigabyte."""
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
"""Unpacked to packed size of one entry above SMALL; weights pack by 1.1, tokenizers by 5, a bomb by 1000."""
SMALL = 1 << 20

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_BLOCK = 1 << 20
_EXTENSIONS = {".pt": ModelFormat.TORCH_SCRIPT, ".onnx": ModelFormat.ONNX}
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}
_DAMAGED = (zipfile.BadZipFile, struct.error, RuntimeError, ValueError, LookupError, OSError)


class BadArchive(InvalidRequest):
    """The zip is refused; the reason is what the task's `error` says."""


@dataclass(frozen=True)
class ModelArchive:
    """A checked zip on disk: its regular entries in the order of the directory."""

    path: Path
    entries: tuple[zipfile.ZipInfo, ...]

    def unpack(self, folder: Path) -> None:
        """Write all entries below `folder`; blocking. Raises BadArchive for wrong sizes or checksums."""
        with zipfile.ZipFile(self.path) as archive:
            for entry in self.entries:
                target = folder.joinpath(*PurePosixPath(entry.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                _unpack_entry(archive, entry, target)

    def read(self, name: str, *, most: int = SMALL) -> bytes | None:
        """The bytes of a small entry; None when there is none. Blocking. Raises BadArchive for one above `most`."""
        entry = next((each for each in self.entries if each.filename == name), None)
        if entry is None:
            return None
        if entry.file_size > most:
            raise BadArchive(f"the zip's entry {name!r} is larger than {most} bytes")
        with zipfile.ZipFile(self.path) as archive:
            return b"".join(_blocks(archive, entry))


def check(path: Path, *, model_format: ModelFormat | None, function_name: FunctionName) -> ModelArchive:
    """Check names, links, counts, sizes and what a model needs; blocking, without unpacking.

    Raises BadArchive.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, struct.error, RuntimeError, ValueError, LookupError, OSError) as error:
        raise BadArchive(f"invalid zip: {error}") from error
    for info in infos:
        _check_entry(info)
    files = [info for info in infos if not info.is_dir()]
    _check_together(infos, path.stat().st_size)
    _check_model([info.filename for info in files], model_format, function_name)
    return ModelArchive(path, tuple(files))


def _check_directory(path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        tail_size = min(size, _END.size + 0xFFFF)
        file.seek(size - tail_size)
        tail = file.read(tail_size)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise BadArchive("zip END header not found")
        _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
        locator_at = at - _END64_LOCATOR.size
        if locator_at >= 0 and tail[locator_at:].startswith(b"PK\x06\x07"):
            _, _, end64_at, _ = _END64_LOCATOR.unpack_from(tail, locator_at)
            file.seek(min(end64_at, size))
            raw = file.read(_END64.size)
            if len(raw) < _END64.size:
                raise BadArchive("zip END header not found")
            entries, directory = _END64.unpack(raw)[7:9]
    if entries > MAX_ENTRIES or directory > MAX_DIRECTORY:
        raise BadArchive(f"the zip holds too many entries ({entries}, at most {MAX_ENTRIES})")


def _check_entry(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    _check_name(name)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"the zip holds a link or a special file: {name}")
    if info.flag_bits & 0x1:
        raise BadArchive(f"the zip is encrypted: {name}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadArchive(f"the zip uses a compression that is not supported: {name}")
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise BadArchive(f"the zip unpacks to too much: {name} grows more than {MAX_RATIO} times")


def _check_name(name: str) -> None:
    if not name or any(ord(c) < 32 or c in "\\:\x7f" for c in name):
        raise BadArchive(f"the zip holds a forbidden name: {name!r}")
    for part in name.rstrip("/").split("/"):
        bad = part in ("", ".", "..") or part != part.rstrip(" .") or len(part.encode("utf-8", "replace")) > 255
        if bad or part.split(".")[0].rstrip().casefold() in _RESERVED:
            raise BadArchive(f"the zip holds a forbidden name: {name!r}")


def _check_together(infos: Iterable[zipfile.ZipInfo], archive_size: int) -> None:
    seen: set[str] = set()
    files: set[str] = set()
    unpacked = packed = 0
    for info in infos:
        key = info.filename.rstrip("/").casefold()
        if key in seen:
            raise BadArchive(f"the zip holds a name twice: {info.filename!r}")
        seen.add(key)
        if not info.is_dir():
            files.add(key)
        unpacked += info.file_size
        packed += info.compress_size
    if unpacked > MAX_UNPACKED:
        raise BadArchive(f"the zip unpacks to {unpacked} bytes, at most {MAX_UNPACKED} are taken")
    if packed > archive_size:
        # Entries that share their bytes: a small file that unpacks without end.
        raise BadArchive("the zip's entries overlap")
    for key in seen:
        if any("/".join(key.split("/")[:n]) in files for n in range(1, key.count("/") + 1)):
            raise BadArchive(f"the zip uses a file as a folder: {key!r}")


def _check_model(names: Iterable[str], model_format: ModelFormat | None, function_name: FunctionName) -> None:
    names = tuple(names)
    if model_format is ModelFormat.SAFETENSORS:
        _check_folder(frozenset(names), function_name)
        return
    models, has_tokenizer = 0, False
    for name in names:
        extension = PurePosixPath(name).suffix
        if extension in _EXTENSIONS:
            if _EXTENSIONS[extension] is not model_format:
                raise BadArchive(f"Model format is {model_format}, but find {extension} file")
            models += 1
            if models > 1:
                raise BadArchive("Find multiple model files, but expected only one")
        has_tokenizer = has_tokenizer or name == "tokenizer.json"
    if not models and function_name is not FunctionName.SPARSE_TOKENIZE:
        raise BadArchive("Can't find model file")
    if not has_tokenizer:
        raise BadArchive("No tokenizer file")


def _check_folder(names: frozenset[str], function_name: FunctionName) -> None:
    """A Hugging Face folder: other files than those that are loaded do no harm, pickled weights are never opened."""
    weights = [name for name in names if "/" not in name and name.endswith(".safetensors")]
    if function_name is not FunctionName.SPARSE_TOKENIZE:
        if not weights:
            raise BadArchive("Can't find model file: a SAFETENSORS model has *.safetensors at the root of its zip")
        if "config.json" not in names:
            raise BadArchive("No config.json file at the root of the zip")
    if "tokenizer.json" not in names:
        raise BadArchive("No tokenizer file")


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    left = entry.file_size
    with target.open("xb") as out:
        for block in _blocks(archive, entry):
            left -= len(block)
            if left < 0:
                raise BadArchive(f"the zip's entry {entry.filename!r} is longer than declared")
            out.write(block)
    if left:
        raise BadArchive(f"the zip's entry {entry.filename!r} is shorter than declared")


def _blocks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The entry's bytes; whatever the library trips over in a damaged zip is BadArchive."""
    try:
        with archive.open(entry) as source:
            while block := source.read(_BLOCK):
                yield block
    except (*_DAMAGED, zlib.error, EOFError, RuntimeError) as error:
        raise BadArchive(f"the zip is damaged: {error}") from error
