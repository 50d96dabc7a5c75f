"""The life of connectors' documents: secrets, trust, merging, who may do what, several writers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bridge.connectors.catalog import Connectors
from bridge.connectors.secret_box import Sealed, SecretBox
from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.connector import Connector
from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelState
from bridge.errors import Conflict, Forbidden, InvalidRequest, NotFound
from bridge.store.documents import Stored, Version
from bridge.store.in_memory import InMemoryDocuments
from bridge.wire import dumps, to_document

URL = "https://api.openai.com/v1/${parameters.path}"
ACTION = {"action_type": "predict", "method": "POST", "url": URL, "request_body": "{}"}
BODY = {"name": "a", "version": 1, "protocol": "http", "credential": {"key": "secret"}, "actions": [ACTION]}


class Kept:
    def __init__(self, **settings: Any) -> None:
        self.connectors: InMemoryDocuments[Connector] = InMemoryDocuments(Connector)
        self.models: InMemoryDocuments[Model] = InMemoryDocuments(Model)
        self.settings = FixedSettings(ClusterSettings(**settings))
        self.catalog = self.with_key(b"k" * 32)

    def with_key(self, key: bytes) -> Connectors:
        box = SecretBox([key])
        return Connectors(connectors=self.connectors, models=self.models, box=box, settings=self.settings)


async def test_a_credential_is_readable_only_by_a_call_of_the_model() -> None:
    kept = Kept()
    made = await kept.catalog.create(BODY)
    stored = await kept.catalog.get(made)
    assert b"secret" not in dumps(to_document(stored.value))
    model = Stored("m", Model(name="m", algorithm=FunctionName.REMOTE, connector_id=made), Version(1, 1))
    assert (await kept.catalog.of_model(model)).credential == {"key": "secret"}
    with pytest.raises(Sealed, match="give all bridges of a cluster the same secret key"):
        await kept.with_key(b"o" * 32).of_model(model)
    # Copied into another connector it does not open.
    other = await kept.connectors.create(stored.value)
    with pytest.raises(Sealed, match="moved"):
        await kept.catalog.of_model(replace(model, value=replace(model.value, connector_id=other.id)))


async def test_an_update_merges_parameters_and_replaces_the_rest() -> None:
    kept = Kept()
    made = await kept.catalog.create({**BODY, "parameters": {"path": "x", "n": 1}})
    await kept.catalog.update(made, {"parameters": {"n": {"a": [1.50]}}, "credential": {"other": "s"}})
    value = (await kept.catalog.get(made)).value
    assert value.parameters == {"path": "x", "n": '{"a":[1.5]}'}
    assert list(value.credential or {}) == ["other"]
    assert value.name == "a"
    assert value.last_updated_time is not None


async def test_urls_are_trusted_with_the_connectors_own_parameters() -> None:
    kept = Kept(trusted_connector_endpoints_regex=(r"(", r"^https://api\.openai\.com/v1/x$"))
    untrusted = "Connector URL is not matching the trusted connector endpoint regex"
    with pytest.raises(InvalidRequest, match=untrusted):
        await kept.catalog.create({**BODY, "parameters": {"path": "y"}})
    made = await kept.catalog.create({**BODY, "parameters": {"path": "x"}})
    for changes in ({"parameters": {"path": "y"}}, {"actions": [ACTION, {**ACTION, "url": "http://127.0.0.1/"}]}):
        with pytest.raises(InvalidRequest, match=untrusted):
            await kept.catalog.update(made, changes)


async def test_scripts_and_other_protocols_are_refused_when_the_connector_is_made() -> None:
    kept = Kept()
    for function in ("return params.text_docs[0];", "connector.pre_process.nope"):
        with pytest.raises(InvalidRequest, match="pre_process_function"):
            await kept.catalog.create({**BODY, "actions": [{**ACTION, "pre_process_function": function}]})
    for protocol in ("aws_sigv4", "mcp_sse"):
        credential = {"access_key": "a", "secret_key": "b", "region": "r", "service_name": "s"}
        with pytest.raises(InvalidRequest):
            await kept.catalog.create({**BODY, "protocol": protocol, "credential": credential})
    with pytest.raises(InvalidRequest, match="credential is null"):
        await kept.catalog.update(await kept.catalog.create(BODY), {"credential": {}})


async def test_models_hold_their_connector() -> None:
    kept = Kept()
    made = await kept.catalog.create(BODY)
    model = await kept.models.create(
        Model(name="m", algorithm=FunctionName.REMOTE, connector_id=made, model_state=ModelState.DEPLOYED)
    )
    with pytest.raises(InvalidRequest, match="please undeploy the models first") as refused:
        await kept.catalog.update(made, {"description": "x"})
    assert refused.value.reason.startswith("1 models are still using this connector")
    with pytest.raises(Conflict, match=model.id):
        await kept.catalog.delete(made)
    await kept.models.replace(model, replace(model.value, model_state=ModelState.UNDEPLOYED))
    await kept.catalog.update(made, {"description": "x"})
    with pytest.raises(Conflict):
        await kept.catalog.delete(made)
    await kept.models.delete(model.id)
    assert (await kept.catalog.delete(made)) is not None
    assert (await kept.catalog.delete(made)) is None
    with pytest.raises(NotFound):
        await kept.catalog.get(made)


async def test_writers_at_the_same_time_lose_nothing() -> None:
    kept = Kept()
    made = await kept.catalog.create(BODY)
    await asyncio.gather(*(kept.catalog.update(made, {"parameters": {f"p{n}": n}}) for n in range(10)))
    assert (await kept.catalog.get(made)).value.parameters == {f"p{n}": str(n) for n in range(10)}


ANN = Caller(name="ann", backend_roles=("red",))
BOB = Caller(name="bob", backend_roles=("red", "blue"))
EVE = Caller(name="eve", backend_roles=("green",))
ROOT = Caller(name="root", admin=True)


async def test_access() -> None:
    kept = Kept(connector_access_control_enabled=True)
    private = await kept.catalog.create(BODY, ANN)
    shared = await kept.catalog.create({**BODY, "access_mode": "restricted", "backend_roles": ["red"]}, ANN)
    public = await kept.catalog.create({**BODY, "access_mode": "public"}, ANN)
    seen = {private: {ANN, ROOT}, shared: {ANN, BOB, ROOT}, public: {ANN, BOB, EVE, ROOT}}
    for connector_id, allowed in seen.items():
        for caller in (ANN, BOB, EVE, ROOT):
            for call in (kept.catalog.get, kept.catalog.delete if caller not in allowed else kept.catalog.get):
                if caller in allowed:
                    await call(connector_id, caller)
                else:
                    with pytest.raises(Forbidden):
                        await call(connector_id, caller)
    assert b"eve" in dumps(kept.catalog.search_filter(EVE))
    assert kept.catalog.search_filter(ROOT) is None
    assert kept.catalog.search_filter(None) is None
    with pytest.raises(InvalidRequest, match="at least one backend role"):
        await kept.catalog.create({**BODY, "access_mode": "restricted"}, ANN)
    with pytest.raises(InvalidRequest, match="access control parameters"):
        await kept.catalog.create({**BODY, "access_mode": "public"})
