"""Registering remote models and changing their connectors: no content, so no worker, and done when it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.connectors.catalog import NO_CONNECTOR, Connectors
from bridge.domain.caller import Caller
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState, TaskState, TaskType
from bridge.domain.task import Task
from bridge.errors import InvalidRequest, NotFound, WrongToken
from bridge.models.groups import Groups, now_ms
from bridge.models.identifier import random_id
from bridge.models.model_fields import texts
from bridge.models.naming import check_text
from bridge.models.register import RegisterRequest, model_of, read_fields
from bridge.models.update import ModelChanges
from bridge.store.documents import Documents, Stored
from bridge.wire import from_document, read_text, token_of


@dataclass(frozen=True, kw_only=True)
class RemoteRequest:
    """A checked registration: either the id of a connector or a connector's own body."""

    model: RegisterRequest
    connector_id: str | None = None
    connector: dict[str, Any] | None = None


def parse_remote(body: Mapping[str, Any], *, deploy: bool = False) -> RemoteRequest:
    """Check a register body of function `remote`. Raises InvalidRequest, WrongToken."""
    document = read_fields(body) | {"deploy": deploy, "model_format": None}
    document["model_node_ids"] = texts("model_node_ids", body.get("model_node_ids"))
    if body.get("name") is None:
        raise InvalidRequest("model name is null")
    connector_id, connector = body.get("connector_id"), body.get("connector")
    if connector_id is None and connector is None:
        raise InvalidRequest(NO_CONNECTOR)
    if connector is not None and not isinstance(connector, dict):
        raise WrongToken("connector", "START_OBJECT", token_of(connector))
    request = from_document(RegisterRequest, document)
    check_text("Model name", request.name, required=True)
    check_text("Model description", request.description)
    if connector_id is not None:
        # An id beats a connector's own body, as in ML Commons.
        return RemoteRequest(model=request, connector_id=read_text(connector_id))
    return RemoteRequest(model=request, connector=connector)


@dataclass(frozen=True)
class RegisteredRemote:
    """The ids of what was written."""

    task_id: str
    model_id: str


class RemoteRegistration:
    """Writes the documents of remote models; also bridge.models.update.ConnectorChange."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        tasks: Documents[Task],
        groups: Groups,
        connectors: Connectors,
        node_id: str,
    ) -> None:
        self._models = models
        self._tasks = tasks
        self._groups = groups
        self._connectors = connectors
        self._node_id = node_id

    async def check(self, request: RemoteRequest, caller: Caller | None = None) -> None:
        """Raises NotFound and Forbidden for the connector, InvalidRequest for an inline one."""
        if request.connector_id is not None:
            await self._check_connector(request.connector_id, caller)
        else:
            self._connectors.made(request.connector or {}, "")

    async def register(self, request: RemoteRequest) -> RegisteredRemote:
        """Write the model, REGISTERED, and its task, COMPLETED. Raises NotFound for an unknown group."""
        model_id = random_id()
        inline = None if request.connector is None else self._connectors.made(request.connector, model_id)
        place = await self._groups.place(request.model.name, request.model.model_group_id, request.model.description)
        model = replace(
            model_of(request.model, place),
            model_state=ModelState.REGISTERED,
            connector_id=request.connector_id,
            connector=inline,
        )
        try:
            await self._models.create(model, id=model_id, refresh=True)
        except BaseException:
            await self._groups.give_back(place)
            raise
        now = now_ms()
        task = await self._tasks.create(
            Task(
                model_id=model_id,
                task_type=TaskType.REGISTER_MODEL,
                function_name=FunctionName.REMOTE,
                state=TaskState.COMPLETED,
                worker_node=(self._node_id,),
                create_time=now,
                last_update_time=now,
                is_async=False,
            )
        )
        return RegisteredRemote(task.id, model_id)

    async def __call__(
        self, stored: Stored[Model], changes: ModelChanges, caller: Caller | None = None
    ) -> Mapping[str, Any]:
        """See ConnectorChange."""
        if changes.connector_id is not None:
            await self._check_connector(changes.connector_id, caller)
            return {"connector_id": changes.connector_id}
        inside = stored.value.connector or {}
        return {"connector": self._connectors.changed_inside(inside, changes.connector or {}, stored.id)}

    async def _check_connector(self, connector_id: str, caller: Caller | None) -> None:
        try:
            await self._connectors.get(connector_id, caller)
        except NotFound:
            raise NotFound(f"Failed to find connector:{connector_id}") from None
