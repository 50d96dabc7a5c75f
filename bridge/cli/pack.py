"""`bridge pack`: a Hugging Face folder becomes a registrable zip, checked numerically."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm

from bridge.domain.names import ModelFormat
from bridge.engines import huggingface
from bridge.engines.huggingface import HuggingFaceFolder
from bridge.errors import BridgeError
from bridge.models import repository_folder

LEAST_COSINE = 0.9999

T = TypeVar("T")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--format", "model_format", type=click.Choice(["onnx", "torch_script"]), default="onnx", show_default=True
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The zip; default NAME-FORMAT.zip."
)
@click.option("--name", help="The model's name in the register body; default the folder's name.")
@click.option("--url", help="Where the zip will be reachable; goes into the register body.")
@click.option(
    "--max-length", type=click.IntRange(min=1), help="Cut texts at so many tokens; default as tokenizer.json."
)
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    help="Put the model into this folder, too, from where `serve --model-repository` registers it by --name.",
)
def pack(
    *,
    folder: Path,
    model_format: str,
    output: Path | None,
    name: str | None,
    url: str | None,
    max_length: int | None,
    repository: Path | None,
) -> None:
    """Make a zip from a Hugging Face FOLDER (config.json, tokenizer.json, *.safetensors) and print how to register it.

    Folders of sentence-transformers bring their pooling and normalising along. The result is compared with transformers
    on texts of many lengths before anything is kept. Needs the extra [torch].
    """
    chosen = ModelFormat(model_format.upper())
    try:
        described = huggingface.read(folder)
        target = output or Path(f"{(name or described.name).replace('/', '_')}-{model_format.replace('_', '')}.zip")
        body = _Packing(described, chosen, target, max_length).run()
    except ImportError as error:
        raise click.ClickException(f"{error.name or error} is missing; install the extra [torch]") from None
    except (OSError, ValueError, BridgeError) as error:
        raise click.ClickException(str(error)) from None
    body = {"name": name or described.name, **body, "url": url or f"https://YOUR-SERVER/{target.name}"}
    if repository is not None:
        _put(repository, target, body)
    click.echo("\nRegister it with\n\nPOST /_plugins/_ml/models/_register", err=True)
    click.echo(json.dumps(body, indent=2, ensure_ascii=False))


def _put(repository: Path, archive: Path, body: dict[str, Any]) -> None:
    try:
        place = repository_folder.add(repository, archive, body)
    except (OSError, ValueError, BridgeError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{place}: registered by {{name: {body['name']!r}, version: {body['version']!r}}}", err=True)


class _Packing:
    """The steps, each shown while it runs."""

    def __init__(self, folder: HuggingFaceFolder, chosen: ModelFormat, target: Path, max_length: int | None) -> None:
        self._folder, self._format, self._target, self._max_length = folder, chosen, target, max_length

    def run(self) -> dict[str, Any]:
        """Load, export, check, zip; the register body without name and url. Raises ClickException on a bad check."""
        from bridge.engines import export

        with tempfile.TemporaryDirectory() as scratch, tqdm(total=5, unit="step", leave=False, disable=None) as bar:
            packed = Path(scratch)
            source = _step(bar, "loading the weights", lambda: export.load(self._folder))
            limit = _step(
                bar,
                "writing the tokenizer",
                lambda: export.save_tokenizer(self._folder, packed / "tokenizer.json", self._max_length),
            )
            file = _step(bar, "exporting", lambda: export.write(source, self._format, packed))
            worst = _step(bar, "comparing", lambda: export.worst_cosine(source, self._format, packed))
            if not worst >= LEAST_COSINE:
                raise click.ClickException(f"the exported model differs from transformers: cosine {worst:.6f}")
            _step(bar, "zipping", lambda: export.write_zip(self._target, [file, packed / "tokenizer.json"]))
        size = self._target.stat().st_size
        click.echo(f"{self._target}: {size:,} bytes, cosine to transformers at least {worst:.7f}", err=True)
        self._say_limit(limit)
        return self._body(source.dimension, size)

    def _say_limit(self, limit: int) -> None:
        wanted = self._folder.max_seq_length
        click.echo(f"texts are cut at {limit} tokens (tokenizer.json)", err=True)
        if wanted is not None and wanted != limit:
            click.echo(f"sentence-transformers would cut at {wanted}: --max-length {wanted} does the same", err=True)

    def _body(self, dimension: int, size: int) -> dict[str, Any]:
        folder = self._folder
        config: dict[str, Any] = {
            "model_type": folder.model_type,
            "embedding_dimension": dimension,
            "framework_type": "sentence_transformers",
            "pooling_mode": folder.pooling_mode.lower(),
            "normalize_result": folder.normalize,
        }
        for key in ("query_prefix", "passage_prefix"):
            if getattr(folder, key):
                config[key] = getattr(folder, key)
        config["all_config"] = json.dumps(folder.config, sort_keys=True)
        return {
            "version": "1.0.0",
            "function_name": "TEXT_EMBEDDING",
            "model_format": str(self._format),
            "model_content_size_in_bytes": size,
            "model_content_hash_value": _sha256(self._target),
            "model_config": config,
        }


def _step(bar: tqdm[Any], label: str, work: Callable[[], T]) -> T:
    bar.set_description(label)
    result = work()
    bar.update()
    return result


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
