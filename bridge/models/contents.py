"""What a model's own files say about it: the `model_config` of a Hugging Face folder (SAFETENSORS)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bridge.domain.model import Model
from bridge.domain.names import FrameworkType, FunctionName, ModelFormat
from bridge.errors import InvalidRequest
from bridge.models import model_fields
from bridge.models.archive import BadArchive, ModelArchive

_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
"""Names under which architectures keep the length of their token vectors, the usual one first."""


def completed_config(archive: ModelArchive, model: Model) -> dict[str, Any] | None:
    """The model's `model_config`; for SAFETENSORS with what config.json and modules.json add. Blocking.

    What the request said stands. Raises BadArchive for unreadable files, InvalidRequest when the length of the vectors
    is said nowhere.
    """
    if model.model_format is not ModelFormat.SAFETENSORS or model.algorithm is FunctionName.SPARSE_TOKENIZE:
        return model.model_config
    said = dict(model.model_config or {})
    config = _json(archive, "config.json")
    modules = _modules(archive)
    said.setdefault("model_type", str(config.get("model_type", "bert")))
    pooled = FrameworkType.SENTENCE_TRANSFORMERS if modules else FrameworkType.HUGGINGFACE_TRANSFORMERS
    said.setdefault("framework_type", pooled.value)
    if model.algorithm is FunctionName.TEXT_EMBEDDING and "embedding_dimension" not in said:
        said["embedding_dimension"] = _dimension(archive, config, modules)
    return model_fields.model_config(said, model.algorithm, keep_false=True)


def _dimension(archive: ModelArchive, config: dict[str, Any], modules: list[dict[str, Any]]) -> int:
    for width in _widths(archive, config, modules):
        if isinstance(width, int) and not isinstance(width, bool) and width > 0:
            return width
    raise InvalidRequest("config.json does not say how long the vectors are: give model_config.embedding_dimension")


def _widths(archive: ModelArchive, config: dict[str, Any], modules: list[dict[str, Any]]) -> Iterator[Any]:
    """Candidates, what stands last in the chain of modules first."""
    for module in reversed(modules):
        own = _json(archive, f"{module.get('path')}/config.json") if module.get("path") else {}
        yield own.get("out_features")
        yield own.get("word_embedding_dimension")
    for name in _WIDTHS:
        yield config.get(name)


def _modules(archive: ModelArchive) -> list[dict[str, Any]]:
    value = _read(archive, "modules.json")
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _json(archive: ModelArchive, name: str) -> dict[str, Any]:
    value = _read(archive, name)
    return value if isinstance(value, dict) else {}


def _read(archive: ModelArchive, name: str) -> Any:
    raw = archive.read(name)
    if raw is None:
        return None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise BadArchive(f"{name} is not JSON: {error}") from error
