"""Tiny models for tests: a word-level tokenizer and graphs of a few nodes, in ONNX and TorchScript."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bridge.domain.tensor import TextDocsInput

WORDS = ("the a cat dog sat on mat hello world search engine vector model apple red blue green").split()  # noqa: SIM905
DIMENSION = 6


def docs(*texts: str, **asked: Any) -> TextDocsInput:
    """A predict input of these texts."""
    return TextDocsInput(text_docs=texts, **asked)


def write_tokenizer(folder: Path, *, max_length: int | None = None, pad_to: int | None = None) -> Tokenizer:
    """tokenizer.json that knows WORDS, puts [CLS] and [SEP] around, and truncates or pads when asked to."""
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    if max_length:
        tokenizer.enable_truncation(max_length)
    if pad_to:
        tokenizer.enable_padding(length=pad_to)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def table(dimension: int = DIMENSION) -> np.ndarray:
    """One row per token, the same everywhere."""
    rows = len(WORDS) + 4
    return np.sin(np.arange(rows * dimension, dtype=np.float32)).reshape(rows, dimension)


def write_onnx(
    folder: Path,
    *,
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    dtype: int = TensorProto.INT64,
    hidden: str = "last_hidden_state",
    second: str | None = "pooler_output",
    second_first: bool = False,
    drop_hidden: bool = False,
    max_length: int | None = None,
) -> Path:
    """A folder with model.onnx: token vectors from the table, each plus half of the masked mean; and a tanh of it."""
    write_tokenizer(folder, max_length=max_length)
    node = helper.make_node
    nodes = [
        node("Gather", ["table", inputs[0]], ["tokens"]),
        node("Cast", [inputs[1]], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "last"], ["m3"]),
        node("Mul", ["tokens", "m3"], ["masked"]),
        node("ReduceSum", ["masked", "one"], ["sum"], keepdims=1),
        node("ReduceSum", ["m3", "one"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["mean"]),
        node("Mul", ["mean", "half"], ["part"]),
        node("Add", ["tokens", "part"], [hidden]),
        node("Squeeze", ["mean", "one"], ["flat"]),
        node("Tanh", ["flat"], [second or "unused"]),
    ]
    if len(inputs) > 2:
        nodes[0] = node("Gather", ["table", inputs[0]], ["looked"])
        nodes += [
            node("Cast", [inputs[2]], ["t"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["t", "last"], ["t3"]),
            node("Add", ["looked", "t3"], ["tokens"]),
        ]
        nodes = [nodes[0], *nodes[-3:], *nodes[1:-3]]
    outputs = [] if drop_hidden else [(hidden, ["b", "s", DIMENSION])]
    if second:
        outputs.insert(0 if second_first else len(outputs), (second, ["b", DIMENSION]))
    constants = {
        "table": table(),
        "last": np.array([2]),
        "one": np.array([1]),
        "half": np.array(0.5, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, ["b", "s"]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def hidden_of(ids: Sequence[int]) -> np.ndarray:
    """What write_onnx's graph answers for one text: [tokens, dimension]."""
    tokens = table()[list(ids)]
    return tokens + 0.5 * tokens.mean(0, keepdims=True)


def write_torchscript(folder: Path, *, takes_dict: bool) -> Path:
    """A folder with model.pt: sentence-transformers style (dict in and out) or two tensors in, token vectors out."""
    import torch

    class Dict(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.from_numpy(table()))

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            ids, mask = features["input_ids"], features["attention_mask"]
            tokens = self.table[ids]
            m = mask.unsqueeze(-1).to(tokens.dtype)
            vector = (tokens * m).sum(1) / m.sum(1)
            return {
                "input_ids": ids, "attention_mask": mask, "token_embeddings": tokens, "sentence_embedding": vector,
            }  # fmt: skip

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.from_numpy(table()))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            tokens = self.table[input_ids]
            m = attention_mask.unsqueeze(-1).to(tokens.dtype)
            return tokens + 0.5 * (tokens * m).sum(1, keepdim=True) / m.sum(1, keepdim=True)

    write_tokenizer(folder)
    ids, mask = torch.tensor([[2, 4, 3], [2, 3, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    example: tuple = ({"input_ids": ids, "attention_mask": mask},) if takes_dict else (ids, mask)
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Dict() if takes_dict else Plain()
        torch.jit.save(torch.jit.trace(module.eval(), example, strict=False, check_trace=False), data)
    (folder / "model.pt").write_bytes(data.getvalue())
    return folder


def changed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite a file's bytes."""
    path.write_bytes(change(path.read_bytes()))
