"""Deleting models, and clearing what broken registrations left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog

from bridge.domain.model import Model, ModelChunk
from bridge.domain.names import ModelState, TaskState, TaskType
from bridge.domain.pipeline import StoredPipeline
from bridge.domain.task import Task
from bridge.errors import Conflict, InvalidRequest, NotFound, VersionConflict
from bridge.models.chunks import Chunks
from bridge.models.groups import Groups, Place, now_ms
from bridge.models.known import KnownModels
from bridge.models.register_task import model_id_of
from bridge.store.documents import Documents, Stored
from bridge.store.stores import Stores

log = structlog.get_logger(__name__)

ABANDONED_SECONDS = 24 * 3600.0
"""A registration on which nothing moved for so long is taken away; one by URL ends within hours."""
_IN_USE = (ModelState.DEPLOYED, ModelState.DEPLOYING, ModelState.PARTIALLY_DEPLOYED)
_RECENT = 200
_MOST = 10_000
_TRIES = 20
_KINDS = ("ingest", "search")


class ModelRemoval:
    """Takes a model document, its chunks and its controller away together."""

    def __init__(
        self,
        stores: Stores,
        *,
        chunks: Chunks,
        groups: Groups,
        known: KnownModels,
        abandoned: float = ABANDONED_SECONDS,
    ) -> None:
        self._models: Documents[Model] = stores.models
        self._chunk_documents: Documents[ModelChunk] = stores.chunks
        self._tasks: Documents[Task] = stores.tasks
        self._pipelines: Documents[StoredPipeline] = stores.pipelines
        self._controllers = stores.controllers
        self._chunks = chunks
        self._groups = groups
        self._known = known
        self._abandoned = abandoned

    async def delete(self, model_id: str, *, safe: bool = False) -> Stored[Model]:
        """Remove a model that is not deployed; `safe`: and that no pipeline of ours names.

        Raises NotFound, InvalidRequest while it is deployed, Conflict while it is used.
        """
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None:
                raise NotFound("Failed to find model")
            if stored.value.model_state in _IN_USE:
                raise InvalidRequest(
                    "Model cannot be deleted in deploying or deployed state. Try undeploy model first then delete",
                    kind="status_exception",
                )
            if safe:
                await self._must_be_unused(model_id)
            try:
                # The document first: nothing may be deployed while its chunks go.
                await self._models.delete(model_id, version=stored.version, refresh=True)
            except VersionConflict:
                continue
            await self._chunks.delete(model_id, stored.value.total_chunks)
            await self._controllers.delete(model_id)
            self._known.forget(model_id)
            return stored
        raise InvalidRequest(f"model {model_id} is being written by too many at once")

    async def sweep(self) -> list[str]:
        """Clear what registrations left that will never end; gives the ids of the models concerned.

        Those are tasks that ended without their handler (workers that were killed), uploads that were given up, and
        chunks whose model is gone.
        """
        swept = [*await self._of_dead_tasks(), *await self._given_up(), *await self._orphans()]
        for model_id in swept:
            log.info("remains of a registration removed", action="register.sweep", model_id=model_id)
        return swept

    async def _must_be_unused(self, model_id: str) -> None:
        found = await self._pipelines.search({"match_all": {}}, size=_MOST)
        for kind in _KINDS:
            using = sorted(
                stored.value.name
                for stored in found
                if stored.value.kind == kind and model_id in _models_in(stored.value.definition)
            )
            if using:
                raise Conflict(
                    f"{len(using)} {kind} pipelines are still using this model, please delete or update the pipelines"
                    f" first: [{', '.join(using)}]"
                )

    async def _of_dead_tasks(self) -> list[str]:
        ended = {"terms": {"state": [TaskState.FAILED.value, TaskState.CANCELLED.value]}}
        registers = {"term": {"task_type": TaskType.REGISTER_MODEL.value}}
        tasks = await self._tasks.search(
            {"bool": {"filter": [registers, ended]}}, size=_RECENT, sort=[{"last_update_time": {"order": "desc"}}]
        )
        ids = [model_id_of(task.id) for task in tasks]
        if not ids:
            return []
        left = {each.rpartition("_")[0] for each in await self._chunk_documents.ids({"terms": {"model_id": ids}})}
        registering = {"term": {"model_state": ModelState.REGISTERING.value}}
        left |= {model.id for model in await self._models.search(registering, size=1000) if model.id in ids}
        for model_id in sorted(left):
            await self._chunks.delete(model_id, None)
            await self._models.delete(model_id, refresh=True)
        return sorted(left)

    async def _given_up(self) -> list[str]:
        """Models that nobody has finished for long: chunks are missing, or another owner of the index died."""
        before = now_ms() - int(self._abandoned * 1000)
        filters = [
            {"term": {"model_state": ModelState.REGISTERING.value}},
            {"range": {"last_updated_time": {"lt": before}}},
        ]
        removed = []
        for stored in await self._models.search({"bool": {"filter": filters}}, size=_RECENT):
            try:
                await self._models.delete(stored.id, version=stored.version, refresh=True)
            except VersionConflict:
                # A client has come back.
                continue
            await self._chunks.delete(stored.id, stored.value.total_chunks)
            if stored.value.model_group_id is not None and (stored.value.model_version or "").isdecimal():
                place = Place(stored.value.model_group_id, int(stored.value.model_version or 0))
                await self._groups.give_back(place)
            removed.append(stored.id)
        return removed

    async def _orphans(self) -> list[str]:
        """Models that are gone while chunks of theirs are there: a client that uploaded during the delete, for one."""
        await self._models.refresh()
        await self._chunk_documents.refresh()
        known = list(await self._models.ids({"match_all": {}}))
        strangers = {"bool": {"must_not": [{"terms": {"model_id": known}}]}}
        ids = {each.rpartition("_")[0] for each in await self._chunk_documents.ids(strangers)}
        removed = []
        for model_id in sorted(ids):
            # A model is always written before its chunks, so one that is not there now has none that count.
            if model_id and await self._models.get(model_id) is None:
                await self._chunks.delete(model_id, None)
                removed.append(model_id)
        return removed


def _models_in(value: Any, key: str = "") -> Iterator[str]:
    """Every text under a key `model_id`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _models_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _models_in(inner, key)
    elif isinstance(value, str) and key == "model_id":
        yield value
