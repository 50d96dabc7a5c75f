"""Tiny Hugging Face folders with random weights and the tokenizer of tiny_functions."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import tiny_functions as tiny


def write(folder: Path, kind: str, *, family: str = "Bert", **config: Any) -> Path:
    """A folder with a random model of this class and the tiny tokenizer."""
    import torch
    import transformers

    torch.manual_seed(5)
    sizes: dict[str, Any] = {"vocab_size": tiny.SIZE, "initializer_range": 0.6, **config}
    if family == "DistilBert":
        sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    elif family == "T5":
        del sizes["initializer_range"]
        sizes |= {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    settings = getattr(transformers, f"{family}Config")(**sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(transformers, f"{family}{kind}")(settings).save_pretrained(folder)
    tiny.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def modules(folder: Path, *listed: tuple[str, str, dict[str, Any]]) -> None:
    """modules.json after the transformer itself: path, type, config."""
    every = [("", "Transformer", None), *listed]
    (folder / "modules.json").write_text(
        json.dumps([{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind, _ in every])
    )
    for path, _, config in listed:
        (folder / path).mkdir(exist_ok=True)
        (folder / path / "config.json").write_text(json.dumps(config))
