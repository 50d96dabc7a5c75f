"""Zips from strangers: what is refused, why, and how cheaply."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_inference import zipped
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.names import FunctionName, ModelFormat
from bridge.models import archive
from bridge.models.archive import BadArchive

GOOD = {"model.onnx": b"graph", "tokenizer.json": b"{}"}


def check(path: Path, model_format: ModelFormat = ModelFormat.ONNX) -> archive.ModelArchive:
    return archive.check(path, model_format=model_format, function_name=FunctionName.TEXT_EMBEDDING)


def with_entry(name: str, *, mode: int = 0, content: bytes = b"x") -> bytes:
    out = io.BytesIO(zipped())
    with zipfile.ZipFile(out, "a") as made:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        made.writestr(info, content)
    return out.getvalue()


def renamed(old: bytes, new: bytes) -> bytes:
    """A zip whose entry `old` is called `new`, of the same length, which no library would write."""
    assert len(old) == len(new)
    return with_entry(old.decode()).replace(old, new)


def encrypted() -> bytes:
    raw = bytearray(with_entry("secret.bin"))
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = raw.rfind(signature)
        raw[at + offset] |= 1
    return bytes(raw)


def many_entries() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(archive.MAX_ENTRIES + 1):
            made.writestr(f"{number}", b"")
    return out.getvalue()


def lying_directory() -> bytes:
    """An END record that speaks of few entries in front of a directory of a million."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 1_000_000
    return directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), 0, 0)


def bomb() -> bytes:
    return zipped({**GOOD, "zeros.bin": bytes(20 << 20)})


def duplicate() -> bytes:
    raw = with_entry("other.json")
    return raw.replace(b"other.json", b"model.onnx")


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent folder": (lambda: with_entry("../evil.txt"), "forbidden name"),
    "parent folder inside": (lambda: with_entry("a/../../evil.txt"), "forbidden name"),
    "absolute": (lambda: with_entry("/etc/evil"), "forbidden name"),
    "drive letter": (lambda: with_entry("C:evil.txt"), "forbidden name"),
    "backslash": (lambda: renamed(b"aXevil.txt", b"a\\evil.txt"), "forbidden name"),
    "nul": (lambda: renamed(b"evil_txt", b"evil\x00txt"), "forbidden name"),
    "newline": (lambda: renamed(b"evil_txt", b"evil\ntxt"), "forbidden name"),
    "reserved": (lambda: with_entry("CON"), "forbidden name"),
    "reserved with extension": (lambda: with_entry("data/aux.json"), "forbidden name"),
    "trailing dot": (lambda: with_entry("evil./x"), "forbidden name"),
    "empty part": (lambda: with_entry("a//b"), "forbidden name"),
    "symbolic link": (lambda: with_entry("link", mode=stat.S_IFLNK | 0o777), "link or a special file"),
    "device": (lambda: with_entry("device", mode=stat.S_IFCHR | 0o600), "link or a special file"),
    "encrypted": (encrypted, "encrypted"),
    "too many": (many_entries, "too many entries"),
    "lying directory": (lying_directory, "too many entries"),
    "bomb": (bomb, "unpacks to too much"),
    "duplicate": (duplicate, "a name twice"),
    "case clash": (lambda: with_entry("Tokenizer.JSON"), "a name twice"),
    "file as folder": (lambda: with_entry("tokenizer.json/x"), "file as a folder"),
    "not a zip": (lambda: b"hello" * 100, "zip END header not found"),
    "empty": (lambda: b"", "zip END header not found"),
    "cut": (lambda: zipped()[:-10], "zip END header not found"),
    "no tokenizer": (lambda: zipped({"model.onnx": b"x"}), "No tokenizer file"),
    "tokenizer not at the root": (lambda: zipped({"m.onnx": b"x", "a/tokenizer.json": b"x"}), "No tokenizer file"),
    "no model": (lambda: zipped({"tokenizer.json": b"{}"}), "Can't find model file"),
    "two models": (lambda: zipped({**GOOD, "b.onnx": b"x"}), "but expected only one"),
    "wrong format": (lambda: zipped({"m.pt": b"x", "tokenizer.json": b""}), "Model format is ONNX, but find .pt file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_time_and_memory(case: str, tmp_path: Path) -> None:
    make, reason = REFUSED[case]
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(BadArchive, match=reason):
        check(path)
    took, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 2
    assert peak < 100 << 20


def test_nested_zips_and_folders_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped({**GOOD, "more/": b"", "more/inner.zip": zipped(), "more/deep/er.txt": b"text"}))
    target = tmp_path / "out"
    check(path).unpack(target)
    assert (target / "more" / "deep" / "er.txt").read_bytes() == b"text"
    assert (target / "model.onnx").read_bytes() == b"graph"


def test_wrong_checksum_is_found_while_unpacking(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        made.writestr("model.onnx", b"graph" * 100)
        made.writestr("tokenizer.json", b"{}")
    path = tmp_path / "model.zip"
    path.write_bytes(out.getvalue().replace(b"graphgraph", b"graphGRAPH", 1))
    checked = check(path)
    with pytest.raises(BadArchive, match="damaged"):
        checked.unpack(tmp_path / "out")


def test_sparse_tokenize_needs_no_model_file(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped({"tokenizer.json": b"{}"}))
    made = archive.check(path, model_format=ModelFormat.ONNX, function_name=FunctionName.SPARSE_TOKENIZE)
    assert [entry.filename for entry in made.entries] == ["tokenizer.json"]


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("zip") / "model.zip"
    path.write_bytes(data)
    with pytest.raises(BadArchive):
        check(path)


@given(st.integers(0, len(zipped()) - 1), st.integers(0, 255))
def test_a_flipped_byte_never_escapes_the_folder(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    data = bytearray(zipped())
    data[position] = value
    path = folder / "model.zip"
    path.write_bytes(data)
    with contextlib.suppress(BadArchive):
        check(path).unpack(folder / "out")
    assert {entry.name for entry in folder.iterdir()} <= {"model.zip", "out"}


@given(st.text(max_size=30))
def test_any_entry_name_stays_inside_or_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = folder / "model.zip"
    try:
        path.write_bytes(with_entry(name))
    except (ValueError, UnicodeEncodeError):
        return
    try:
        check(path).unpack(folder / "out")
    except BadArchive:
        return
    inside = (folder / "out").resolve()
    assert all(inside in found.resolve().parents for found in inside.rglob("*"))
    assert {entry.name for entry in folder.iterdir()} == {"model.zip", "out"}


FOLDER = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"x", "onnx/model.onnx": b"y"}


def without(name: str) -> bytes:
    return zipped({key: content for key, content in FOLDER.items() if key != name})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (zipped(FOLDER), None),
        (without("config.json"), "No config.json file"),
        (without("tokenizer.json"), "No tokenizer file"),
        (without("model.safetensors"), "Can't find model file"),
        (zipped({"model.onnx": b"x", "tokenizer.json": b"{}", "config.json": b"{}"}), "Can't find model file"),
    ],
)
def test_hugging_face_folders(tmp_path: Path, content: bytes, problem: str | None) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    expected = contextlib.nullcontext() if problem is None else pytest.raises(BadArchive, match=problem)
    with expected:
        check(path, ModelFormat.SAFETENSORS)


def test_small_entries_can_be_read_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped({**GOOD, "config.json": b"x" * 100}))
    checked = check(path)
    assert checked.read("config.json") == b"x" * 100
    assert checked.read("nothing.json") is None
    with pytest.raises(BadArchive, match="larger than 10 bytes"):
        checked.read("config.json", most=10)
