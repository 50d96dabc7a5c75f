"""The connectors that there are: made, read, changed, deleted, and made ready for a call."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.connectors.definition import asks_for_access, parse_changes, parse_create, parse_inside
from bridge.connectors.secret_box import SecretBox
from bridge.connectors.template import Values, fill_url
from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.connector import Connector
from bridge.domain.model import Model
from bridge.domain.names import ModelState
from bridge.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable, VersionConflict
from bridge.store.documents import Documents, Stored
from bridge.wire import from_document, to_document

_TRIES = 20
_SHOWN = 100
_LOADED = (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED, ModelState.DEPLOYING)
NO_CONNECTOR = "You must provide connector content when creating a remote model without connector id!"
_UNTRUSTED = "Connector URL is not matching the trusted connector endpoint regex"
_NO_ACCESS_FIELDS = (
    "You cannot specify connector access control parameters because the Security plugin or connector access control is"
    " disabled on your cluster."
)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A connector with its credential in the clear; `id` is that of the document that holds it."""

    id: str
    connector: Connector
    credential: Mapping[str, str]


class Connectors:
    """Documents of connectors, and connectors inside model documents."""

    def __init__(
        self,
        *,
        connectors: Documents[Connector],
        models: Documents[Model],
        box: SecretBox,
        settings: CurrentSettings,
    ) -> None:
        self._connectors = connectors
        self._models = models
        self._box = box
        self._settings = settings

    async def create(self, body: Mapping[str, Any], caller: Caller | None = None) -> str:
        """Store a new connector; gives its id. Raises InvalidRequest."""
        if body.get("dry_run") in (True, "true"):
            return "dryRunConnector"
        # An id that starts with a letter: routes and command lines read `_` and `-` in front as something else.
        connector_id = "c" + secrets.token_urlsafe(14)
        made = self._sealed(parse_create(body), connector_id)
        self._check_urls(made)
        value = replace(made, **self._access_fields(body, caller))
        stored = await self._connectors.create(value, id=connector_id, refresh=True)
        return stored.id

    async def get(self, connector_id: str, caller: Caller | None = None) -> Stored[Connector]:
        """Raises NotFound, and Forbidden where it is not this caller's."""
        stored = await self._connectors.get(connector_id)
        if stored is None:
            raise NotFound(f"Failed to find connector with the provided connector id: {connector_id}")
        self._check_access(stored.value, caller)
        return stored

    async def update(
        self, connector_id: str, body: Mapping[str, Any], caller: Caller | None = None
    ) -> Stored[Connector]:
        """Parameters are merged, other fields replaced. Raises NotFound, and InvalidRequest while a deployed model
        uses it."""
        for _ in range(_TRIES):
            stored = await self.get(connector_id, caller)
            value = self.changed(stored.value, body, connector_id)
            if asks_for_access(body):
                value = replace(value, **self._access_fields(body, caller))
            await self._must_not_be_deployed(connector_id)
            try:
                return await self._connectors.replace(stored, value, refresh=True)
            except VersionConflict:
                continue
        raise Unavailable(f"connector {connector_id} is being written by too many at once")

    async def delete(self, connector_id: str, caller: Caller | None = None) -> Stored[Connector] | None:
        """Remove it; None when there was none. Raises Conflict while a model uses it."""
        stored = await self._connectors.get(connector_id)
        if stored is not None:
            self._check_access(stored.value, caller)
        users = await self._users(connector_id)
        if users:
            ids = ", ".join(user.id for user in users)
            raise Conflict(
                f"{len(users)} models are still using this connector, please delete or update the models first: [{ids}]"
            )
        if stored is not None:
            await self._connectors.delete(connector_id, refresh=True)
        return stored

    def made(self, body: Mapping[str, Any], owner_id: str) -> dict[str, Any]:
        """A connector for inside of the model document `owner_id`. Raises InvalidRequest."""
        value = replace(self._sealed(parse_inside(body), owner_id), created_time=None, last_updated_time=None)
        self._check_urls(value)
        return to_document(value)

    def changed_inside(self, document: Mapping[str, Any], body: Mapping[str, Any], owner_id: str) -> dict[str, Any]:
        """The connector inside the model document `owner_id` with the fields of `body`. Raises InvalidRequest."""
        value = self.changed(from_document(Connector, document), body, owner_id)
        return to_document(replace(value, last_updated_time=None))

    def changed(self, old: Connector, body: Mapping[str, Any], owner_id: str) -> Connector:
        """`old` with the fields of an update. Raises InvalidRequest."""
        fields = parse_changes(body)
        if "parameters" in fields:
            fields["parameters"] = {**(old.parameters or {}), **fields["parameters"]}
        if "credential" in fields:
            fields["credential"] = self._box.seal(fields["credential"], owner_id)
        value = replace(old, **fields, last_updated_time=_now())
        self._check_urls(value)
        return value

    async def of_model(self, stored: Stored[Model]) -> Ready:
        """The connector by which a remote model is called. Raises NotFound and secret_box.Sealed."""
        model = stored.value
        if model.connector_id is None:
            if model.connector is None:
                raise InvalidRequest(
                    "You must provide connector content when creating a remote model without connector id!"
                )
            return self._ready(stored.id, from_document(Connector, model.connector))
        found = await self._connectors.get(model.connector_id)
        if found is None:
            raise NotFound(f"Failed to find connector:{model.connector_id}")
        return self._ready(found.id, found.value)

    def must_be_trusted(self, url: str) -> None:
        """Raises InvalidRequest when no trusted pattern matches the whole URL."""
        if not any(_matches(pattern, url) for pattern in self._settings.current.trusted_connector_endpoints_regex):
            raise InvalidRequest(_UNTRUSTED)

    def search_filter(self, caller: Caller | None) -> dict[str, Any] | None:
        """A query that leaves only what the caller may see; None: everything."""
        if not self._access_applies(caller) or caller is None:
            return None
        mine = {"nested": {"path": "owner", "query": {"term": {"owner.name.keyword": caller.name}}}}
        shared = {"terms": {"backend_roles.keyword": list(caller.backend_roles)}}
        return {"bool": {"should": [{"term": {"access": "public"}}, mine, shared], "minimum_should_match": 1}}

    def _ready(self, owner_id: str, connector: Connector) -> Ready:
        return Ready(id=owner_id, connector=connector, credential=self._box.open(connector.credential or {}, owner_id))

    def _sealed(self, connector: Connector, owner_id: str) -> Connector:
        sealed = self._box.seal(connector.credential, owner_id) if connector.credential else None
        return replace(connector, credential=sealed, created_time=_now(), last_updated_time=_now())

    def _check_urls(self, connector: Connector) -> None:
        for action in connector.actions or ():
            self.must_be_trusted(fill_url(action["url"], Values(own=connector.parameters or {})))

    async def _users(self, connector_id: str) -> list[Stored[Model]]:
        await self._models.refresh()
        # ML Commons has mapped the field in both ways.
        fields = ("connector_id", "connector_id.keyword")
        query = {"bool": {"should": [{"term": {field: connector_id}} for field in fields], "minimum_should_match": 1}}
        found = await self._models.search(query, size=_SHOWN)
        return [model for model in found if model.value.connector_id == connector_id]

    async def _must_not_be_deployed(self, connector_id: str) -> None:
        users = [user.id for user in await self._users(connector_id) if user.value.model_state in _LOADED]
        if users:
            raise InvalidRequest(
                f"{len(users)} models are still using this connector, please undeploy the models first:"
                f" [{', '.join(users)}]",
                kind="status_exception",
            )

    def _access_applies(self, caller: Caller | None) -> bool:
        return caller is not None and not caller.admin and self._settings.current.connector_access_control_enabled

    def _access_fields(self, body: Mapping[str, Any], caller: Caller | None) -> dict[str, Any]:
        """Who may use it. Raises InvalidRequest where that cannot be said."""
        if caller is None or not self._settings.current.connector_access_control_enabled:
            if asks_for_access(body):
                raise InvalidRequest(_NO_ACCESS_FIELDS)
            return {} if caller is None else {"owner": caller.owner()}
        roles = body.get("backend_roles")
        if body.get("add_all_backend_roles") in (True, "true"):
            roles = list(caller.backend_roles)
        access = str(body.get("access_mode") or ("restricted" if roles else "private")).lower()
        if access not in ("public", "private", "restricted"):
            raise InvalidRequest(f"Wrong access mode: {access}")
        if access == "restricted" and not roles:
            raise InvalidRequest("You must specify at least one backend role or make the connector public/private")
        return {
            "access": access,
            "owner": caller.owner(),
            "backend_roles": tuple(str(role) for role in roles) if access == "restricted" and roles else None,
        }

    def _check_access(self, connector: Connector, caller: Caller | None) -> None:
        if not self._access_applies(caller) or caller is None or connector.access == "public":
            return
        owner = (connector.owner or {}).get("name")
        shared = connector.access == "restricted" and set(connector.backend_roles or ()) & set(caller.backend_roles)
        if owner != caller.name and not shared:
            raise Forbidden("You don't have permission to access this connector")


def _matches(pattern: str, url: str) -> bool:
    try:
        return re.fullmatch(pattern, url) is not None
    except re.error:
        # Java allows some that Python does not: such a pattern trusts nothing.
        return False


def _now() -> int:
    return time.time_ns() // 1_000_000
