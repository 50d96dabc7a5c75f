"""What a Hugging Face or sentence-transformers folder says about its model, as ML Commons' model_config wants it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.domain.names import PoolingMode

_POOLING_KEYS = {
    "pooling_mode_cls_token": PoolingMode.CLS,
    "pooling_mode_max_tokens": PoolingMode.MAX,
    "pooling_mode_mean_tokens": PoolingMode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": PoolingMode.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": PoolingMode.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": PoolingMode.LAST_TOKEN,
}
_POOLING_NAMES = {
    "mean": "MEAN",
    "cls": "CLS",
    "max": "MAX",
    "lasttoken": "LAST_TOKEN",
    "weightedmean": "WEIGHTED_MEAN",
}
"""Newer folders name the mode in one key, `pooling_mode`."""
_LOGARITHMS = {"relu": 1, "log1p_relu": 2}


@dataclass(frozen=True, kw_only=True)
class HuggingFaceFolder:
    """A model folder, read but not loaded; `transformer` is where config.json and the weights lie.

    `max_seq_length` is what sentence-transformers would cut at, None when it does not say.
    """

    path: Path
    transformer: Path
    config: dict[str, Any]
    pooling_mode: PoolingMode
    normalize: bool
    max_seq_length: int | None
    query_prefix: str | None
    passage_prefix: str | None

    @property
    def model_type(self) -> str:
        """The architecture's name, such as bert."""
        return str(self.config.get("model_type", "bert"))

    @property
    def name(self) -> str:
        """What to call the model when nobody says: the folder's name."""
        return self.path.name


def read(path: Path) -> HuggingFaceFolder:
    """Read the JSON files of a folder; MEAN without normalising when it describes no pooling.

    Raises FileNotFoundError without config.json or safetensors weights, ValueError for modules that have no
    counterpart in a model_config (a Dense layer, several poolings at once).
    """
    modules = _modules(path)
    transformer = path / next((m["path"] for m in modules if _kind(m) == "Transformer"), "")
    if not (transformer / "config.json").is_file():
        raise FileNotFoundError(f"no config.json in {transformer}")
    if not list(transformer.glob("*.safetensors")):
        raise FileNotFoundError(f"no .safetensors weights in {transformer}; pickled weights are never opened")
    unknown = sorted({_kind(m) for m in modules} - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise ValueError(f"modules without a counterpart in model_config: {', '.join(unknown)}")
    pooling = next((path / m["path"] for m in modules if _kind(m) == "Pooling"), None)
    prompts = _json(path / "config_sentence_transformers.json").get("prompts") or {}
    return HuggingFaceFolder(
        path=path.resolve(),
        transformer=transformer,
        config=_json(transformer / "config.json"),
        pooling_mode=PoolingMode.MEAN if pooling is None else _pooling(_json(pooling / "config.json")),
        normalize=any(_kind(m) == "Normalize" for m in modules),
        max_seq_length=_json(transformer / "sentence_bert_config.json").get("max_seq_length"),
        query_prefix=prompts.get("query") or None,
        passage_prefix=prompts.get("passage") or prompts.get("document") or None,
    )


@dataclass(frozen=True)
class Splade:
    """How a sparse encoder's logits become weights: `logarithms` times log(1 + x) of what is positive, then the largest
    over the tokens, or with `total` the sum.
    """

    logarithms: int = 1
    total: bool = False


def splade_of(path: Path) -> Splade:
    """What sentence-transformers' SpladePooling module says; the usual way when there is none.

    Raises ValueError for an activation that it does not have.
    """
    module = next((m for m in _modules(path) if _kind(m) == "SpladePooling"), None)
    if module is None:
        return Splade()
    config = _json(path / str(module.get("path", "")) / "config.json")
    activation = str(config.get("activation_function", "relu"))
    if activation not in _LOGARITHMS:
        raise ValueError(f"unknown activation_function [{activation}] of SpladePooling")
    return Splade(_LOGARITHMS[activation], config.get("pooling_strategy", "max") == "sum")


def _json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _modules(path: Path) -> list[dict[str, Any]]:
    file = path / "modules.json"
    return list(json.loads(file.read_text("utf-8"))) if file.is_file() else []


def _kind(module: dict[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _pooling(config: dict[str, Any]) -> PoolingMode:
    named = config.get("pooling_mode")
    if isinstance(named, str):
        return PoolingMode(_POOLING_NAMES.get(named, named.upper()))
    chosen = [mode for key, mode in _POOLING_KEYS.items() if config.get(key)]
    if len(chosen) != 1:
        raise ValueError(f"the folder joins {len(chosen)} poolings; model_config knows exactly one")
    return chosen[0]
