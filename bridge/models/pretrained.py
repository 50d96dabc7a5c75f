"""Models by name from a repository laid out as ML Commons' own: a URL, or a folder where there is no network.

<base>/model_listing/pre_trained_models.json      [{"name", "version": [...], "format": [...], "description"}, ...]
<base>/<name>/<version>/<format>/config.json      what a register request by URL would say, hash included
<base>/<name>/<version>/<format>/<file>.zip       <file>: the name from its first `/` on, `/` as `_`, -version-format
"""

from __future__ import annotations

import asyncio
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.domain.names import FunctionName, ModelFormat
from bridge.errors import InvalidRequest
from bridge.models import model_fields
from bridge.models.download import Downloader, DownloadFailed, DownloadLimits, Missing
from bridge.models.register import LOCAL_FUNCTIONS, RegisterRequest

LISTING = "model_listing/pre_trained_models.json"
_NO_REPOSITORY = (
    "This bridge has no repository of pretrained models: start it with --model-repository URL-OR-FOLDER, or register"
    " with a url"
)
_NOT_LISTED = "This model is not in the pre-trained model list, please check your parameters."
_MOST = 16 << 20
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._ -]*\Z")


@dataclass(frozen=True)
class Located:
    """Where one version and format of a model lies in a repository, as paths from its base."""

    config: str
    archive: str


def located(name: str, version: str, model_format: ModelFormat) -> Located:
    """Raises InvalidRequest for names that would lead elsewhere."""
    lower = model_format.value.lower()
    for part in (*name.split("/"), version):
        if not _SEGMENT.match(part):
            raise InvalidRequest(_NOT_LISTED)
    folder = f"{name}/{version}/{lower}"
    file = name[name.find("/") + 1 :].replace("/", "_")
    return Located(f"{folder}/config.json", f"{folder}/{file}-{version}-{lower}.zip")


class ModelRepository:
    """`base` is an http, https or s3 URL, or a folder of this machine; empty: there is none."""

    def __init__(self, base: str, limits: DownloadLimits) -> None:
        url = base.rstrip("/")
        if url and "://" not in url:
            url = Path(url).expanduser().resolve().as_uri()
        self._url = url
        trusted = r"^https?://"
        # The base was given by who runs the bridge, so a folder of this machine is as good as a URL.
        self.downloader = Downloader(replace(limits, allow_file=url.startswith("file://"), trusted_url=trusted))

    async def complete(self, request: RegisterRequest, workspace: Path) -> RegisterRequest:
        """The request as if it had come with a URL: format, function, config and hash from the repository.

        Raises InvalidRequest when there is no repository or no such model in it, DownloadFailed.
        """
        if not self._url:
            raise InvalidRequest(_NO_REPOSITORY)
        if request.version is None or request.model_format is None:
            raise InvalidRequest("A pretrained model is named by name, version and model_format")
        at = located(request.name, request.version, request.model_format)
        listed = await self._json(LISTING, workspace)
        if not isinstance(listed, list) or not any(_is(entry, request) for entry in listed):
            raise InvalidRequest(_NOT_LISTED)
        config = await self._json(at.config, workspace)
        if not isinstance(config, dict):
            raise DownloadFailed("model config not found")
        return _completed(request, config, self._at(at.archive))

    def _at(self, path: str) -> str:
        return f"{self._url}/{urllib.parse.quote(path)}"

    async def _json(self, path: str, workspace: Path) -> Any:
        target = workspace / "repository.json"
        try:
            await self.downloader.fetch(self._at(path), target, _nothing, most=_MOST)
            return json.loads(await asyncio.to_thread(target.read_bytes))
        except Missing as error:
            raise DownloadFailed(f"the model repository has no {path}") from error
        except ValueError as error:
            raise DownloadFailed(f"{path} of the model repository is not JSON: {error}") from error


def _is(entry: Any, request: RegisterRequest) -> bool:
    if not isinstance(entry, dict) or entry.get("name") != request.name:
        return False
    versions = [str(each).lower() for each in entry.get("version") or ()]
    formats = [str(each).lower() for each in entry.get("format") or ()]
    return str(request.version).lower() in versions and str(request.model_format).lower() in formats


def _completed(request: RegisterRequest, config: Mapping[str, Any], url: str) -> RegisterRequest:
    said = config.get("function_name") or config.get("model_task_type")
    function = model_fields.function_name(said) or FunctionName.TEXT_EMBEDDING
    if function not in LOCAL_FUNCTIONS:
        raise InvalidRequest(f"{function} models cannot be registered")
    return replace(
        request,
        url=url,
        function_name=function,
        model_format=model_fields.model_format(config.get("model_format")) or request.model_format,
        model_config=model_fields.model_config(config.get("model_config"), function),
        model_content_hash_value=_text(config.get("model_content_hash_value")),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


async def _nothing(_: float) -> None:
    return
