"""Putting a packed model into a folder from which bridges register it by name (see bridge/models/pretrained.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.domain.names import ModelFormat
from bridge.models.pretrained import LISTING, located


def add(repository: Path, archive: Path, described: Mapping[str, Any]) -> Path:
    """Copy the zip, write its config.json and list it; blocking. Gives the zip's place.

    `described` is a register body: name, version, model_format and what config.json is to say. The listing is replaced
    in one step, so that a bridge that reads it meanwhile sees the old or the new one. Raises InvalidRequest for a name
    that cannot be a path, OSError, and ValueError for a listing that is not JSON.
    """
    name, version = str(described["name"]), str(described["version"])
    model_format = ModelFormat(str(described["model_format"]).upper())
    at = located(name, version, model_format)
    target = repository / at.archive
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(archive, target)
    config = {key: value for key, value in described.items() if key != "url"}
    _replace(repository / at.config, config)
    listing = repository / LISTING
    listing.parent.mkdir(parents=True, exist_ok=True)
    listed = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    _replace(listing, _with(listed, name, version, model_format.value.lower()))
    return target


def _with(listed: list[dict[str, Any]], name: str, version: str, model_format: str) -> list[dict[str, Any]]:
    others = [entry for entry in listed if entry.get("name") != name]
    own = next((entry for entry in listed if entry.get("name") == name), {"name": name})
    versions = sorted({*own.get("version", ()), version})
    formats = sorted({*own.get("format", ()), model_format})
    return [*others, {**own, "version": versions, "format": formats}]


def _replace(path: Path, value: Any) -> None:
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
