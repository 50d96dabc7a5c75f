"""A Hugging Face folder to a model file that both the bridge and ML Commons run; used by `bridge pack` alone.

Never `trust_remote_code`, never pickled weights. Needs the extra [torch]; nothing of it is imported while serving.
"""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge.domain.names import ModelFormat, PoolingMode
from bridge.engines import embedding
from bridge.engines.devices import CPU
from bridge.engines.huggingface import HuggingFaceFolder
from bridge.engines.pooling import Floats, normalized, pool
from bridge.engines.session import Inputs, ModelSpec
from bridge.engines.tokenizer import TextTokenizer

OPSET = 17
_DATE = (2024, 1, 1, 0, 0, 0)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

CHECK_TEXTS = (
    "a small example sentence",
    "",
    "x",
    "Zürich, naïve café, 東京の天気, Привет мир, 🚲",
    "semantic search finds what is meant, even where no word is shared with the question that was asked",
    "the quick brown fox jumps over the lazy dog " * 12,
    "one two three four five six seven eight nine ten " * 80,
)


@dataclass(frozen=True)
class Source:
    """A loaded folder: the torch module, and which of the three inputs it takes."""

    folder: HuggingFaceFolder
    module: Any
    inputs: tuple[str, ...]

    @property
    def dimension(self) -> int:
        """Length of a token vector."""
        return int(self.module.config.hidden_size)


def load(folder: HuggingFaceFolder) -> Source:
    """Load config and safetensors weights with transformers, in float32.

    Raises ImportError without the extra [torch], OSError or ValueError for what it can't read.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    module = AutoModel.from_pretrained(
        str(folder.transformer),
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        attn_implementation="eager",  # the only attention whose trace holds for other lengths
        dtype=torch.float32,
    ).eval()
    two_types = int(getattr(module.config, "type_vocab_size", 0) or 0) > 1
    return Source(folder, module, _INPUTS if two_types else _INPUTS[:2])


def save_tokenizer(folder: HuggingFaceFolder, target: Path, max_length: int | None) -> int:
    """Write tokenizer.json, as it is unless `max_length` says where to cut; the number of tokens it cuts at."""
    from tokenizers import Tokenizer

    source = folder.transformer / "tokenizer.json"
    if not source.is_file():
        source = folder.path / "tokenizer.json"
    if source.is_file():
        target.write_bytes(source.read_bytes())
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            str(folder.transformer), trust_remote_code=False, local_files_only=True
        )
        tokenizer.backend_tokenizer.save(str(target))
    if max_length is not None:
        changed = Tokenizer.from_file(str(target))
        changed.enable_truncation(max_length)
        changed.no_padding()
        changed.save(str(target))
    return TextTokenizer(target.parent).max_tokens


def write(source: Source, model_format: ModelFormat, folder: Path) -> Path:
    """Write model.onnx (token vectors) or model.pt (dict to dict, pooled and normalised) into `folder`."""
    # The exporters warn about themselves and about every Python branch they see; the numbers are checked afterwards.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        if model_format is ModelFormat.ONNX:
            return _write_onnx(source, folder / "model.onnx")
        return _write_script(source, folder / "model.pt")


def _example(torch: Any) -> tuple[Any, Any, Any]:
    """Two texts of different length, so that nothing in the trace counts on one text or on a full mask."""
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 1, 1, 1, 1]])
    mask = torch.tensor([[1] * 7, [1] * 3 + [0] * 4])
    return ids, mask, torch.zeros_like(ids)


def _write_onnx(source: Source, path: Path) -> Path:
    import torch

    class TokenVectors(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = source.module

        def forward(self, *tensors: Any) -> Any:
            return self.model(**dict(zip(source.inputs, tensors, strict=True)), return_dict=False)[0]

    axes = {name: {0: "batch", 1: "sequence"} for name in (*source.inputs, "last_hidden_state")}
    with torch.no_grad():
        torch.onnx.export(
            TokenVectors().eval(),
            _example(torch)[: len(source.inputs)],
            str(path),
            dynamo=False,
            input_names=list(source.inputs),
            output_names=["last_hidden_state"],
            dynamic_axes=axes,
            opset_version=OPSET,
        )
    return path


def _write_script(source: Source, path: Path) -> Path:
    import torch

    mode, normalize = source.folder.pooling_mode, source.folder.normalize

    class SentenceVectors(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = source.module

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            ids, mask = features["input_ids"], features["attention_mask"]
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
            hidden = self.model(**{name: given[name] for name in source.inputs}, return_dict=False)[0]
            vectors = _pool_tensors(torch, mode, hidden, mask)
            if normalize:
                vectors = torch.nn.functional.normalize(vectors, p=2.0, dim=1)
            return {
                "input_ids": ids,
                "attention_mask": mask,
                "token_embeddings": hidden,
                "sentence_embedding": vectors,
            }

    ids, mask, _ = _example(torch)
    with torch.no_grad():
        given = ({"input_ids": ids, "attention_mask": mask},)
        traced = torch.jit.trace(SentenceVectors().eval(), given, strict=False, check_trace=False)
        data = io.BytesIO()
        torch.jit.save(torch.jit.freeze(traced.eval()), data)
    _strip(data, path)
    return path


def _pool_tensors(torch: Any, mode: PoolingMode, hidden: Any, mask: Any) -> Any:
    """`pooling.pool` in torch, inside the traced graph."""
    if mode is PoolingMode.CLS:
        return hidden[:, 0]
    if mode is PoolingMode.LAST_TOKEN:
        last = (mask.sum(1) - 1).clamp(min=0)
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.size(2)))[:, 0]
    if mode is PoolingMode.MAX:
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, -1e9).amax(1)
    weights = mask.to(hidden.dtype)
    if mode is PoolingMode.WEIGHTED_MEAN:
        weights = weights * mask.cumsum(1).to(hidden.dtype)
    total = weights.sum(1, keepdim=True).clamp(min=1e-9)
    divisor = total.sqrt() if mode is PoolingMode.MEAN_SQRT_LEN else total
    return (hidden * weights.unsqueeze(-1)).sum(1) / divisor


def _strip(archive: io.BytesIO, path: Path) -> None:
    """Copy a TorchScript archive without its debug records, which name source files, and without times."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if name.endswith((".debug_pkl", ".data/serialization_id")):
                continue
            info = zipfile.ZipInfo(name, _DATE)
            # torch maps tensors from the file and wants them on borders of 64 bytes
            at = target.fp.tell() if target.fp is not None else 0
            padding = -(at + 30 + len(name) + 4) % 64
            info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            target.writestr(info, source.read(name))


def write_zip(target: Path, files: Sequence[Path]) -> None:
    """A zip with these files at its root; the same files give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            info = zipfile.ZipInfo(file.name, _DATE)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with file.open("rb") as data, archive.open(info, "w", force_zip64=True) as entry:
                while block := data.read(1 << 20):
                    entry.write(block)


def spec_of(folder: HuggingFaceFolder, model_format: ModelFormat) -> ModelSpec:
    """How the packed file is to be run."""
    return ModelSpec(
        model_format=model_format,
        model_type=folder.model_type,
        pooling_mode=folder.pooling_mode,
        normalize_result=folder.normalize,
    )


def worst_cosine(source: Source, model_format: ModelFormat, packed: Path) -> float:
    """The smallest cosine between the packed files, run by the bridge's engine, and transformers run directly.

    All check texts, in batches of several lengths and alone. Raises EngineFault when the files do not load or run.
    """
    model = embedding.load(packed, device=CPU, spec=spec_of(source.folder, model_format))
    try:
        encoded = model.encode(CHECK_TEXTS)
        together = model.run(encoded)
        alone = [model.run([text])[0] for text in encoded]
        expected = [_direct(source, Inputs.padded([text], model.tokenizer.pad_id))[0] for text in encoded]
        return min(
            _cosine(_vector(row), vector)
            for rows in (together, alone)
            for row, vector in zip(rows, expected, strict=True)
        )
    finally:
        model.close()


def _vector(row: embedding.Row) -> Floats:
    found = next(output for output in row if output.name == embedding.SENTENCE_EMBEDDING)
    return np.asarray(found.array, dtype=np.float32).reshape(-1)


def _cosine(first: Floats, second: Floats) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12))


def _direct(source: Source, inputs: Inputs) -> Floats:
    import torch

    given = {name: torch.from_numpy(getattr(inputs, name)) for name in source.inputs}
    with torch.no_grad():
        hidden = source.module(**given, return_dict=False)[0].numpy()
    vectors = pool(source.folder.pooling_mode, hidden, inputs.attention_mask)
    return normalized(vectors) if source.folder.normalize else vectors
