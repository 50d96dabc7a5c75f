"""Deleting models, and clearing what broken registrations left behind."""

from __future__ import annotations

import structlog

from bridge.domain.model import Model, ModelChunk
from bridge.domain.names import ModelState, TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound, VersionConflict
from bridge.models.chunks import Chunks
from bridge.models.register_task import model_id_of
from bridge.store.documents import Documents, Stored

log = structlog.get_logger(__name__)

_IN_USE = (ModelState.DEPLOYED, ModelState.DEPLOYING, ModelState.PARTIALLY_DEPLOYED)
_RECENT = 200
_TRIES = 20


class ModelRemoval:
    """Takes a model document and its chunks away together."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        chunks: Chunks,
        chunk_documents: Documents[ModelChunk],
        tasks: Documents[Task],
    ) -> None:
        self._models = models
        self._chunks = chunks
        self._chunk_documents = chunk_documents
        self._tasks = tasks

    async def delete(self, model_id: str) -> Stored[Model]:
        """Remove a model that is not deployed. Raises NotFound, InvalidRequest while it is in use."""
        for _ in range(_TRIES):
            stored = await self._models.get(model_id)
            if stored is None:
                raise NotFound("Failed to find model")
            if stored.value.model_state in _IN_USE:
                raise InvalidRequest(
                    "Model cannot be deleted in deploying or deployed state. Try undeploy model first then delete",
                    kind="status_exception",
                )
            try:
                # The document first: nothing may be deployed while its chunks go.
                await self._models.delete(model_id, version=stored.version, refresh=True)
            except VersionConflict:
                continue
            await self._chunks.delete(model_id, stored.value.total_chunks)
            return stored
        raise InvalidRequest(f"model {model_id} is being written by too many at once")

    async def sweep(self) -> list[str]:
        """Clear the remains of registrations whose task ended without its handler (workers that were killed)."""
        ended = {"terms": {"state": [TaskState.FAILED.value, TaskState.CANCELLED.value]}}
        registers = {"term": {"task_type": TaskType.REGISTER_MODEL.value}}
        tasks = await self._tasks.search(
            {"bool": {"filter": [registers, ended]}}, size=_RECENT, sort=[{"last_update_time": {"order": "desc"}}]
        )
        ids = [model_id_of(task.id) for task in tasks]
        if not ids:
            return []
        left = {
            chunk.value.model_id
            for chunk in await self._chunk_documents.search(
                {"terms": {"model_id": ids}}, size=10_000, exclude=("model_content",)
            )
        }
        registering = {"term": {"model_state": ModelState.REGISTERING.value}}
        left |= {model.id for model in await self._models.search(registering, size=1000) if model.id in ids}
        for model_id in sorted(left):
            await self._chunks.delete(model_id, None)
            await self._models.delete(model_id, refresh=True)
            log.info("remains of a registration removed", action="register.sweep", model_id=model_id)
        return sorted(left)
