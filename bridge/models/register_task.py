"""The REGISTER_MODEL task: download, check, store in chunks; all or nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from bridge.domain.model import Model
from bridge.domain.names import ModelFormat, ModelState, TaskState
from bridge.errors import BridgeError, ClaimLost, ClusterUnavailable, InvalidRequest, Unavailable, VersionConflict
from bridge.models import archive
from bridge.models.archive import ModelArchive
from bridge.models.cache import ContentCache
from bridge.models.chunks import Chunks
from bridge.models.contents import completed_config
from bridge.models.download import Downloaded, Downloader, failure_text
from bridge.models.folder_download import fetch_folder
from bridge.models.groups import Groups, Place, now_ms
from bridge.models.identifier import derived_id
from bridge.models.pretrained import ModelRepository
from bridge.models.register import RegisterRequest, model_of
from bridge.store.documents import Documents, Stored
from bridge.tasks.job import Job, Outcome
from bridge.wire import from_document

log = structlog.get_logger(__name__)

_DOWNLOADED = 0.5
"""Share of the progress at which the download is done and the writing begins."""
_STEP = 0.05
_TRIES = 20
_NO_HASH = "Model content Hash code need to be provided when register via url. Please calculate sha 256 Hash code."

Deploy = Callable[[str, Sequence[str] | None], Awaitable[Any]]
"""Deploys a model, on all nodes or on those named."""


def model_id_of(task_id: str) -> str:
    """The id that a task's model gets: the next attempt finds what the last one left."""
    return derived_id("model", task_id)


@dataclass
class _Attempt:
    """What one attempt has made so far, to be taken back when it fails."""

    job: Job
    request: RegisterRequest
    model_id: str
    place: Place | None = None


class RegisterTask:
    """Handler of REGISTER_MODEL."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        groups: Groups,
        chunks: Chunks,
        cache: ContentCache,
        downloader: Downloader,
        deploy: Deploy,
        repository: ModelRepository | None = None,
    ) -> None:
        self._models = models
        self._groups = groups
        self._chunks = chunks
        self._cache = cache
        self._downloader = downloader
        self._repository = repository or ModelRepository("", downloader.limits)
        self._deploy = deploy

    async def __call__(self, job: Job) -> Outcome:
        """COMPLETED with the model's id, or FAILED with the reason and nothing left behind.

        Raises ClusterUnavailable, upon which the task is tried again.
        """
        request = from_document(RegisterRequest, job.input or {})
        attempt = _Attempt(job, request, model_id_of(job.task_id))
        workspace = await asyncio.to_thread(self._cache.workspace)
        try:
            if await self._finished_before(attempt):
                return await self._completed(attempt)
            await self._register(attempt, workspace)
            return await self._completed(attempt)
        except (ClaimLost, ClusterUnavailable):
            # Another worker has the task, or will have it: what stands there is theirs to use or to clear.
            raise
        except Exception as error:
            return await self._failed(attempt, error)
        finally:
            await asyncio.to_thread(shutil.rmtree, workspace, ignore_errors=True)

    async def _finished_before(self, attempt: _Attempt) -> bool:
        """An earlier attempt may have done all but say so; else its place in the group is used again."""
        stored = await self._models.get(attempt.model_id)
        if stored is None:
            return False
        if stored.value.model_state is not ModelState.REGISTERING:
            return True
        if stored.value.model_group_id is not None:
            attempt.place = Place(stored.value.model_group_id, int(stored.value.model_version or 1))
        return False

    async def _register(self, attempt: _Attempt, workspace: Path) -> None:
        downloader = self._downloader
        if attempt.request.url is None:
            await self._check_group(attempt.request)
            downloader = self._repository.downloader
            attempt.request = await self._repository.complete(attempt.request, workspace)
            await attempt.job.update(function_name=attempt.request.function_name)
        request = attempt.request
        if not request.model_content_hash_value and not _is_folder(request):
            await self._check_group(request)
            raise InvalidRequest(_NO_HASH)
        stored = await self._begin(attempt)
        got = await self._download(attempt, downloader, workspace)
        expected = (request.model_content_hash_value or got.sha256).strip().lower()
        if got.sha256 != expected:
            log.warning(
                "model content changed", action="register.hash", task_id=attempt.job.task_id, expected=expected,
                actual=got.sha256,
            )  # fmt: skip
            raise InvalidRequest("model content changed")
        checked = await asyncio.to_thread(_checked, got.path, request)
        config = await asyncio.to_thread(completed_config, checked, stored.value)
        total = await self._store(attempt, stored.value, got, checked)
        await self._finish(attempt, got, total, config)

    async def _check_group(self, request: RegisterRequest) -> None:
        if request.model_group_id is not None:
            await self._groups.get(request.model_group_id)

    async def _begin(self, attempt: _Attempt) -> Stored[Model]:
        stored = await self._models.get(attempt.model_id)
        if stored is not None:
            return stored
        request = attempt.request
        attempt.place = attempt.place or await self._groups.place(
            request.name, request.model_group_id, request.description
        )
        model = model_of(request, attempt.place)
        return await self._models.create(model, id=attempt.model_id)

    async def _download(self, attempt: _Attempt, downloader: Downloader, workspace: Path) -> Downloaded:
        report = _Progress(attempt.job, 0.0, _DOWNLOADED)
        url = str(attempt.request.url)
        if _is_folder(attempt.request):
            return await fetch_folder(downloader, url, workspace, report)
        return await downloader.fetch(url, workspace / "model.zip", report)

    async def _store(self, attempt: _Attempt, model: Model, got: Downloaded, checked: ModelArchive) -> int:
        """Write the chunks while the zip is unpacked, which checks every entry and fills this node's cache."""
        report = _Progress(attempt.job, _DOWNLOADED, 1.0)
        async with asyncio.TaskGroup() as group:
            unpacked = group.create_task(self._cache.adopt(checked, got.sha256))
            written = group.create_task(self._chunks.write(attempt.model_id, model, got.path, got.size, report))
        await unpacked
        return await written

    async def _finish(self, attempt: _Attempt, got: Downloaded, total: int, config: dict[str, Any] | None) -> None:
        # The last moment to notice that the lease is lost: from here on the model counts.
        await attempt.job.update(progress=None)
        for _ in range(_TRIES):
            stored = await self._models.get(attempt.model_id)
            if stored is None:
                raise ClaimLost(f"model {attempt.model_id} was removed while it was being registered")
            value = replace(
                stored.value,
                model_state=ModelState.REGISTERED,
                model_config=config,
                last_registered_time=now_ms(),
                last_updated_time=now_ms(),
                total_chunks=total,
                model_content_size_in_bytes=got.size,
                model_content_hash_value=got.sha256,
            )
            try:
                await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            return
        raise Unavailable(f"model {attempt.model_id} is being written by too many at once")

    async def _completed(self, attempt: _Attempt) -> Outcome:
        if attempt.request.deploy:
            try:
                await self._deploy(attempt.model_id, attempt.request.model_node_ids or None)
            except BridgeError as error:
                log.warning(
                    "registered but not deployed", action="register.deploy", model_id=attempt.model_id,
                    reason=error.reason,
                )  # fmt: skip
        return Outcome(state=TaskState.COMPLETED, model_id=attempt.model_id)

    async def _failed(self, attempt: _Attempt, error: Exception) -> Outcome:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, (ClaimLost, ClusterUnavailable)):
            raise error
        # Raises ClaimLost when somebody else works on the same ids by now: then nothing here may be removed.
        await attempt.job.update(progress=None)
        stored = await self._models.get(attempt.model_id)
        if stored is not None:
            await self._chunks.delete(attempt.model_id, None)
            await self._models.delete(attempt.model_id, refresh=True)
        if attempt.place is not None:
            await self._groups.give_back(attempt.place)
        if not isinstance(error, (BridgeError, OSError)):
            raise error
        return Outcome(state=TaskState.FAILED, error=failure_text(error))


class _Progress:
    """Turns shares of one stage into steps of the task's progress, few enough not to burden the cluster."""

    def __init__(self, job: Job, begin: float, end: float) -> None:
        self._job = job
        self._begin = begin
        self._end = end
        self._told = begin

    async def __call__(self, share: float) -> None:
        now = self._begin + (self._end - self._begin) * share
        if now - self._told >= _STEP:
            self._told = now
            await self._job.update(progress=round(now, 2))


def _is_folder(request: RegisterRequest) -> bool:
    return request.model_format is ModelFormat.SAFETENSORS and str(request.url).endswith("/")


def _checked(path: Path, request: RegisterRequest) -> ModelArchive:
    return archive.check(path, model_format=request.model_format, function_name=request.function_name)
