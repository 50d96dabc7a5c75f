"""PUT of a model: a deep merge of what may change, in one compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from bridge.domain.caller import Caller
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelFormat, ModelState
from bridge.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable, VersionConflict, WrongToken
from bridge.models import model_fields
from bridge.models.access import Access
from bridge.models.groups import Groups, Place, now_ms
from bridge.models.known import KnownModels
from bridge.models.naming import check_text
from bridge.store.documents import Documents, Stored
from bridge.wire import read_flag, read_text, token_of

_TRIES = 20
_MERGED: dict[str, Callable[[Any], Any]] = {
    "rate_limiter": model_fields.rate_limiter,
    "model_config": partial(model_fields.model_config, keep_false=True),
    "deploy_setting": model_fields.deploy_setting,
    "guardrails": model_fields.guardrails,
    "interface": model_fields.interface,
}
_UPDATABLE = (FunctionName.TEXT_EMBEDDING, FunctionName.REMOTE)


@dataclass(frozen=True, kw_only=True)
class ModelChanges:
    """A checked PUT body: `fields` by their names in the document; the connector as the client wrote it."""

    fields: dict[str, Any]
    model_group_id: str | None = None
    connector_id: str | None = None
    connector: dict[str, Any] | None = None


class ConnectorChange(Protocol):
    """Changes the connector of a remote model."""

    async def __call__(self, stored: Stored[Model], changes: ModelChanges, caller: Caller | None) -> Mapping[str, Any]:
        """Fields of the model's document that follow. Raises InvalidRequest, NotFound, Forbidden."""


def parse_update(body: Mapping[str, Any]) -> ModelChanges:
    """Check a body without knowing the model; unknown fields and those that nobody may set are ignored.

    Raises InvalidRequest, WrongToken.
    """
    fields: dict[str, Any] = {}
    for name in ("name", "description"):
        if body.get(name) is not None:
            fields[name] = read_text(body[name])
    if body.get("is_enabled") is not None:
        fields["is_enabled"] = read_flag(body["is_enabled"])
    for name, read in _MERGED.items():
        value = read(body.get(name))
        if value is not None:
            fields[name] = value
    if "model_config" in fields and "model_type" not in fields["model_config"]:
        raise InvalidRequest("model type is null")
    connector_id, connector = body.get("connector_id"), body.get("connector")
    if connector is not None and not isinstance(connector, dict):
        raise WrongToken("connector", "START_OBJECT", token_of(connector))
    if connector_id is not None and connector is not None:
        raise InvalidRequest(
            "Model cannot have both stand-alone connector and internal connector. Please check your update input body.",
            kind="status_exception",
        )
    check_text("Model Name", fields.get("name"))
    check_text("Model Description", fields.get("description"))
    return ModelChanges(
        fields=fields,
        model_group_id=_text_or_none(body.get("model_group_id")),
        connector_id=_text_or_none(connector_id),
        connector=connector,
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None else read_text(value) or None


class ModelUpdate:
    """Writes changes, moves models between groups, and tells this bridge; others see it within their cache's time."""

    def __init__(
        self,
        *,
        models: Documents[Model],
        groups: Groups,
        access: Access,
        known: KnownModels,
        connectors: ConnectorChange | None = None,
    ) -> None:
        self._models = models
        self._groups = groups
        self._access = access
        self._known = known
        self.connectors = connectors

    async def update(self, model_id: str, changes: ModelChanges, caller: Caller | None = None) -> Stored[Model]:
        """Raises NotFound, Conflict while the model is being deployed, Forbidden and InvalidRequest as recorded."""
        place: Place | None = None
        for _ in range(_TRIES):
            stored = await self._found(model_id)
            await self._check(stored, changes, caller)
            more = dict(await self._connector(stored, changes, caller))
            place = place or await self._moved(stored.value, changes, caller)
            if place is not None:
                more |= {"model_group_id": place.group_id, "model_version": str(place.version)}
            value = replace(
                stored.value,
                **_merged(stored.value, changes.fields),
                **more,
                model_id=model_id,
                last_updated_time=now_ms(),
            )
            try:
                written = await self._models.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
            self._known.forget(model_id)
            return written
        if place is not None:
            await self._groups.give_back(place)
        raise Unavailable(f"model {model_id} is being written by too many at once")

    async def _found(self, model_id: str) -> Stored[Model]:
        stored = await self._models.get(model_id)
        if stored is None:
            raise NotFound(f"Failed to find model to update with the provided model id: {model_id}")
        return stored

    async def _check(self, stored: Stored[Model], changes: ModelChanges, caller: Caller | None) -> None:
        model = stored.value
        if model.model_state is ModelState.DEPLOYING:
            raise Conflict(
                f"Model is deploying. Please wait for the model to complete deployment. model ID {stored.id}"
            )
        _check_config(model, changes.fields.get("model_config"))
        if model.algorithm not in _UPDATABLE:
            raise Forbidden(f"The function category {model.algorithm} is not supported at this time.")
        if model.is_hidden and not (caller is not None and caller.admin):
            raise Forbidden("User doesn't have privilege to perform this operation on this model")
        refusal = Forbidden(
            f"User doesn't have privilege to perform this operation on this model, model ID {stored.id}"
        )
        await self._access.check(caller, model.model_group_id, refusal=refusal)

    async def _connector(
        self, stored: Stored[Model], changes: ModelChanges, caller: Caller | None
    ) -> Mapping[str, Any]:
        if changes.connector_id is None and changes.connector is None:
            return {}
        if stored.value.algorithm is not FunctionName.REMOTE:
            raise InvalidRequest(
                "Trying to update the connector or connector_id field on a local model.", kind="status_exception"
            )
        if changes.connector is not None and stored.value.connector is None:
            raise InvalidRequest(
                "Cannot update connector settings for this model. The model was created with a connector_id and does"
                " not have an inline connector.",
                kind="status_exception",
            )
        if changes.connector_id is not None and not stored.value.connector_id:
            raise InvalidRequest(
                "This remote does not have a connector_id field, maybe it uses an internal connector.",
                kind="status_exception",
            )
        if self.connectors is None:
            raise InvalidRequest("Connectors are not available on this bridge.")
        return await self.connectors(stored, changes, caller)

    async def _moved(self, model: Model, changes: ModelChanges, caller: Caller | None) -> Place | None:
        """The model's place in another group, when it is to move there."""
        group_id = changes.model_group_id
        if group_id is None or group_id == model.model_group_id:
            return None
        refusal = Forbidden(
            "User Doesn't have privilege to re-link this model to the target model group due to no access to the"
            f" target model group with model group ID {group_id}"
        )
        try:
            await self._access.check(caller, group_id, refusal=refusal)
            return await self._groups.place(model.name, group_id)
        except NotFound as error:
            raise NotFound(
                "Failed to find the model group with the provided model group id in the update model input,"
                f" MODEL_GROUP_ID: {group_id}"
            ) from error


def _check_config(model: Model, config: Mapping[str, Any] | None) -> None:
    """Raises InvalidRequest for what neither the new config nor the model's has."""
    if config is None:
        return
    remote = model.algorithm is FunctionName.REMOTE and str(config.get("model_type", "")).lower() == "text_embedding"
    if model.algorithm is not FunctionName.TEXT_EMBEDDING and not remote:
        return
    had = model.model_config or {}
    suffix = " must be provided for remote text embedding model" if remote else " is null"
    for name, label in (("embedding_dimension", "Embedding dimension"), ("framework_type", "Framework type")):
        if name not in config and name not in had:
            raise InvalidRequest(label + suffix, kind="status_exception")
    spaces = [each.get("additional_config") or {} for each in (config, had)]
    if remote and not any("space_type" in space for space in spaces):
        raise InvalidRequest(
            "Space type must be provided in additional_config for remote text embedding model", kind="status_exception"
        )


def _merged(model: Model, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The new values: objects are merged key by key at every depth, everything else is replaced."""
    made = {name: _deep(getattr(model, name), value) for name, value in fields.items()}
    if made.get("deploy_setting"):
        made["deploy_setting"] = model_fields.deploy_setting(made["deploy_setting"])
    if made.get("interface"):
        made["interface"] = {name: made["interface"][name] for name in model_fields.SIDES if name in made["interface"]}
    if made.get("model_config"):
        own = model.model_format is ModelFormat.SAFETENSORS
        made["model_config"] = model_fields.model_config(made["model_config"], model.algorithm, keep_false=own)
    return made


def _deep(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _deep(old.get(key), value) for key, value in new.items()}
