"""From a model document to what an engine is told."""

from __future__ import annotations

from bridge.domain.model import Model
from bridge.engines.session import ModelSpec
from bridge.errors import EngineError


def spec_of(model: Model) -> ModelSpec:
    """Raises EngineError when the document's model_config cannot be read."""
    said = {**(model.model_config or {}), "function_name": model.algorithm, "model_format": model.model_format}
    try:
        return ModelSpec.from_dict(said)
    except (ValueError, TypeError) as error:
        raise EngineError(f"model_config cannot be read: {error}") from error


def is_asymmetric(model: Model) -> bool:
    """Whether queries and passages get different prefixes."""
    config = model.model_config or {}
    return bool(config.get("query_prefix") or config.get("passage_prefix"))
