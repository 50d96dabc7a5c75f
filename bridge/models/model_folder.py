"""A Hugging Face folder as a model's zip: which of its files count, and the one zip that they make.

The same files give the same bytes, so that a folder has a SHA-256 wherever it is packed: names sorted, nothing
compressed (weights do not get smaller), one fixed date.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bridge.errors import InvalidRequest

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
INDEX, MODULES = "model.safetensors.index.json", "modules.json"
EXTRAS = (
    "special_tokens_map.json", "tokenizer_config.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "vocab.txt", "idf.json",
)  # fmt: skip
"""Files that some models have; what is not named here is never fetched or packed, pickled weights least of all."""

_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors\Z")
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_MOST_SHARDS = 500
_MOST_MODULES = 20
_DATE = (2024, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


class BadFolder(InvalidRequest):
    """The folder is no model; the reason is what the task's `error` says."""


def shards_in(index: bytes) -> tuple[str, ...]:
    """The weight files that a `model.safetensors.index.json` names. Raises BadFolder."""
    found = _parsed(index, INDEX)
    names = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(names, dict) or not names:
        raise BadFolder(f"{INDEX} has no weight_map")
    shards = sorted({str(name) for name in names.values()})
    if len(shards) > _MOST_SHARDS or not all(_SHARD.match(name) for name in shards):
        raise BadFolder(f"{INDEX} names files that cannot be weights")
    return tuple(shards)


def module_files(modules: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a `modules.json`: files of its folders that may be there, and weights that must. Raises BadFolder."""
    found = _parsed(modules, MODULES)
    if not isinstance(found, list) or len(found) > _MOST_MODULES:
        raise BadFolder(f"{MODULES} is not a list of modules")
    configs, weights = [], []
    for module in found:
        path = str(module.get("path") or "") if isinstance(module, dict) else ""
        if not path:
            continue
        if not _MODULE.match(path):
            raise BadFolder(f"{MODULES} names a folder that cannot be: {path!r}")
        configs.append(f"{path}/{CONFIG}")
        if str(module.get("type", "")).endswith(".Dense"):
            weights.append(f"{path}/{WEIGHTS}")
    return tuple(configs), tuple(weights)


def files_of(folder: Path) -> list[str]:
    """The names, sorted, of the files of a folder on disk that make its model; blocking.

    Raises BadFolder when one that is needed is not there.
    """
    index = folder / INDEX
    weights = (INDEX, *shards_in(index.read_bytes())) if index.is_file() else (WEIGHTS,)
    modules = folder / MODULES
    configs, dense = module_files(modules.read_bytes()) if modules.is_file() else ((), ())
    needed = [TOKENIZER, *dense]
    # A tokenizer with its weights per token (SPARSE_TOKENIZE) is a whole model.
    if not (folder / "idf.json").is_file() or (folder / CONFIG).is_file():
        needed += [CONFIG, *weights]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise BadFolder(f"the folder lacks {', '.join(missing)}")
    optional = [name for name in (MODULES, *configs, *EXTRAS) if (folder / name).is_file()]
    return sorted({*needed, *optional})


def pack(folder: Path, target: Path, names: Iterable[str] | None = None, *, consume: bool = False) -> None:
    """Write the folder's model as a zip; blocking. `consume` removes each file once it is in. Raises BadFolder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in files_of(folder) if names is None else sorted(names):
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            source = folder / name
            with source.open("rb") as data, archive.open(info, "w", force_zip64=True) as entry:
                while block := data.read(_BLOCK):
                    entry.write(block)
            if consume:
                source.unlink()


def _parsed(raw: bytes, name: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise BadFolder(f"{name} is not JSON: {error}") from error
