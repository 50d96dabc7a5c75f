"""`bridge model register`: a zip or a Hugging Face folder goes to a bridge in chunks; an interrupted upload goes on."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from bridge.cli.bridge_client import BridgeClient, Refused, Target, bridge_options, connected, must_complete, show
from bridge.domain.model import CHUNK_SIZE
from bridge.domain.names import FunctionName, ModelFormat
from bridge.errors import BridgeError
from bridge.models import model_folder
from bridge.models.download import sha256_of
from bridge.models.register import LOCAL_FUNCTIONS

_SUFFIXES = {".onnx": ModelFormat.ONNX, ".pt": ModelFormat.TORCH_SCRIPT, ".safetensors": ModelFormat.SAFETENSORS}
_WAIT_SECONDS = 3600.0


@dataclass(frozen=True)
class _Upload:
    """A zip on this disk and what is said of it."""

    path: Path
    size: int
    meta: dict[str, Any]

    @property
    def total(self) -> int:
        return int(self.meta["total_chunks"])

    def chunk(self, number: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(number * CHUNK_SIZE)
            return file.read(CHUNK_SIZE)


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The model's name; default the file's or folder's.")
@click.option(
    "--function",
    type=click.Choice([each.value for each in LOCAL_FUNCTIONS], case_sensitive=False),
    default=FunctionName.TEXT_EMBEDDING.value,
    show_default=True,
)
@click.option(
    "--format", "model_format", type=click.Choice([each.value for each in ModelFormat], case_sensitive=False),
    help="How the model is written; default by the files in the zip.",
)  # fmt: skip
@click.option("--config", help="model_config as JSON, or @FILE; a Hugging Face folder brings its own.")
@click.option("--group", help="Id of the model group.")
@click.option("--description")
@click.option("--deploy", is_flag=True, help="Deploy it afterwards and wait.")
@click.option("--resume/--no-resume", default=True, help="Go on with an upload of the same content that was cut off.")
@bridge_options
def register(
    *,
    to: Target,
    path: Path,
    model_format: str | None,
    config: str | None,
    deploy: bool,
    resume: bool,
    **said: str | None,
) -> None:
    """Upload the model at PATH, a zip or a Hugging Face folder, and print its id.

    The content goes in chunks of 10 MB and counts only when its SHA-256 is right. The same command after an
    interruption sends what is missing.
    """
    given = {
        "name": said["name"] or (path.resolve().name if path.is_dir() else path.stem),
        "function_name": said["function"],
        "description": said["description"],
        "model_group_id": said["group"],
        "model_config": _config(config),
    }
    with _zipped(path) as archive:
        upload = _described(archive, given, model_format)

        async def work(client: BridgeClient) -> dict[str, Any]:
            model_id = await _uploaded(client, upload, resume=resume)
            if deploy:
                told = await client.call("POST", ("models", model_id, "_deploy"))
                await must_complete(client, told["task_id"], _WAIT_SECONDS)
            made = await client.call("GET", ("models", model_id))
            return {"model_id": model_id, **made}

        made = connected(to, work)
    show(to, made, lambda: [f"model_id: {made['model_id']}", f"state: {made['model_state']}"])


@contextmanager
def _zipped(path: Path) -> Iterator[Path]:
    """The zip itself, or one made from the folder and gone afterwards."""
    if path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model.zip"
        click.echo(f"packing {path}", err=True)
        try:
            model_folder.pack(path, target)
        except (BridgeError, OSError) as error:
            raise Refused(str(error)) from error
        yield target


def _described(archive: Path, said: dict[str, Any], model_format: str | None) -> _Upload:
    size = archive.stat().st_size
    meta = {
        **{name: value for name, value in said.items() if value is not None},
        "model_format": model_format.upper() if model_format else _format_of(archive),
        "model_content_hash_value": sha256_of(archive),
        "model_content_size_in_bytes": size,
        "total_chunks": max(1, -(-size // CHUNK_SIZE)),
    }
    return _Upload(archive, size, meta)


def _format_of(archive: Path) -> str:
    try:
        with zipfile.ZipFile(archive) as opened:
            found = {_SUFFIXES.get(Path(name).suffix) for name in opened.namelist()} - {None}
    except zipfile.BadZipFile as error:
        raise click.UsageError(f"{archive} is no zip and no folder: {error}") from error
    if len(found) != 1:
        raise click.UsageError(f"{archive} does not show its format: give --format")
    return str(found.pop())


def _config(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--config: {error}") from error


async def _uploaded(client: BridgeClient, upload: _Upload, *, resume: bool) -> str:
    """Bring the content to the bridge; gives the id of the REGISTERED model. Raises Refused."""
    model_id = await _begun(client, upload) if resume else None
    if model_id is None:
        begun = await client.call("POST", ("models", "_register_meta"), upload.meta, repeat=False)
        model_id = str(begun["model_id"])
        there: set[int] = set()
    else:
        there = await _stored(client, model_id)
        click.echo(f"going on with model {model_id}: {len(there)} of {upload.total} chunks are there", err=True)
    if len(there) == upload.total:
        # All are there and nobody has been told so: the last one again makes the bridge look.
        there.discard(upload.total - 1)
    await _send(client, upload, model_id, there)
    state = (await client.call("GET", ("models", model_id)))["model_state"]
    if state == "REGISTERING":
        raise Refused(f"model {model_id} is still {state}: another upload removed chunks of it; register it again")
    return model_id


async def _send(client: BridgeClient, upload: _Upload, model_id: str, there: set[int]) -> None:
    sent = sum(len(range(n * CHUNK_SIZE, min(upload.size, (n + 1) * CHUNK_SIZE))) for n in there)
    shown: dict[str, Any] = {"unit": "B", "unit_scale": True, "desc": "uploading", "leave": False, "disable": None}
    with tqdm(total=upload.size, initial=sent, **shown) as bar:
        for number in range(upload.total):
            if number in there:
                continue
            content = upload.chunk(number)
            await client.call("POST", ("models", model_id, "upload_chunk", str(number)), content)
            bar.update(len(content))


async def _begun(client: BridgeClient, upload: _Upload) -> str | None:
    """The id of an unfinished model of the same name and content."""
    wanted = {
        "name.keyword": upload.meta["name"],
        "model_content_hash_value": upload.meta["model_content_hash_value"],
        "model_state": "REGISTERING",
        "total_chunks": upload.total,
    }
    query = {"bool": {"filter": [{"term": {name: value}} for name, value in wanted.items()]}}
    found = await client.call("POST", ("models", "_search"), {"size": 1, "query": query})
    hits = found["hits"]["hits"]
    return str(hits[0]["_id"]) if hits else None


async def _stored(client: BridgeClient, model_id: str) -> set[int]:
    query = {"bool": {"filter": [{"term": {"model_id": model_id}}, {"exists": {"field": "chunk_number"}}]}}
    body = {"size": 10_000, "query": query, "_source": ["chunk_number"]}
    found = await client.call("POST", ("models", "_search"), body)
    return {int(hit["_source"]["chunk_number"]) for hit in found["hits"]["hits"]}
