"""Predicts with remote models: the input becomes a request, the answer becomes tensors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bridge.connectors.answer_json import read
from bridge.connectors.catalog import Connectors, Ready
from bridge.connectors.definition import HTTP, action_type
from bridge.connectors.functions import ONE_TEXT_A_CALL, after, before
from bridge.connectors.http_call import Call, HttpCaller
from bridge.connectors.template import Values, fill_body, fill_header, fill_url, json_text
from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import CurrentSettings
from bridge.domain.model import Model
from bridge.domain.tensor import MLInput, MLOutput, ModelTensors, RemoteInput, TextDocsInput
from bridge.errors import InvalidRequest
from bridge.store.documents import Stored

DISABLED = (
    "Remote Inference is currently disabled. To enable it, update the setting"
    ' "plugins.ml_commons.remote_inference_enabled" to true.'
)
_STEP = "input_docs_processed_step_size"
_CALLS_AT_ONCE = 8


class RemoteInference:
    """Implements `bridge.models.predictor.RemoteModels`."""

    def __init__(self, connectors: Connectors, http: HttpCaller, settings: CurrentSettings) -> None:
        self._connectors = connectors
        self._http = http
        self._settings = settings

    async def predict(
        self, stored: Stored[Model], input: MLInput, *, deadline: float, caller: Caller | None = None
    ) -> MLOutput:
        """See RemoteModels.predict; the model's own connector is used whoever asks, as in ML Commons."""
        if not self._settings.current.remote_inference_enabled:
            raise InvalidRequest(DISABLED, kind="status_exception")
        ready = await self._connectors.of_model(stored)
        if ready.connector.protocol != HTTP:
            raise InvalidRequest(
                f"Connectors of protocol {ready.connector.protocol} are not available on this bridge yet."
            )
        action = action_of(ready, (input.action_type if isinstance(input, RemoteInput) else None) or "predict")
        end = asyncio.get_running_loop().time() + deadline
        slots = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def one(part: MLInput) -> ModelTensors:
            async with slots:
                left = end - asyncio.get_running_loop().time()
                return await self._call(ready, action, part, max(0.001, left))

        parts = [one(part) for part in _parts(ready, action, input)]
        return MLOutput(inference_results=tuple(await _all(parts)))

    async def _call(self, ready: Ready, action: dict[str, Any], input: MLInput, deadline: float) -> ModelTensors:
        values = _values(ready, action, input)
        url = fill_url(action["url"], values)
        if url != fill_url(action["url"], Values(own=values.own)):
            # The URL was trusted without what the request puts into it.
            self._connectors.must_be_trusted(url)
        status, answer = await self._http.send(
            Call(
                connector_id=ready.id,
                method=action["method"],
                url=url,
                headers=_headers(ready, action),
                body=_payload(action, values),
                config=ready.connector.client_config or {},
            ),
            deadline=deadline,
        )
        tensors = after(action.get("post_process_function"), read(answer), _text(values, "response_filter"))
        return ModelTensors(output=tensors, status_code=status)


async def _all(calls: Iterable[Any]) -> list[ModelTensors]:
    """The results in order; the first failure ends the others."""
    calls = list(calls)
    if len(calls) == 1:
        return [await calls[0]]
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(call) for call in calls]
    except* Exception as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in running]


def action_of(ready: Ready, wanted: str) -> dict[str, Any]:
    """The first action of a type. Raises InvalidRequest when there is none, or its type needs more than a call."""
    kind = action_type(wanted)
    found = next((action for action in ready.connector.actions or () if action.get("action_type") == kind), None)
    if found is None:
        raise InvalidRequest(f"no {kind} action found")
    if kind not in ("PREDICT", "EXECUTE"):
        raise InvalidRequest(f"{kind} is not available on this bridge yet.")
    return found


def _parts(ready: Ready, action: dict[str, Any], input: MLInput) -> list[MLInput]:
    """The input, cut into one for each call."""
    if not isinstance(input, TextDocsInput):
        return [input]
    size = len(input.text_docs)
    step = (ready.connector.parameters or {}).get(_STEP)
    if step is not None:
        size = int(step) if step.strip().isdigit() else 0
        if size <= 0:
            raise InvalidRequest(f"Invalid parameter: {_STEP}. It must be positive integer.")
    elif action.get("pre_process_function") == ONE_TEXT_A_CALL:
        size = 1
    starts = range(0, len(input.text_docs), max(1, size))
    return [replace(input, text_docs=input.text_docs[start : start + size]) for start in starts]


def _values(ready: Ready, action: dict[str, Any], input: MLInput) -> Values:
    own = ready.connector.parameters or {}
    if isinstance(input, RemoteInput):
        return Values(own=own, given=input.parameters, templates=input.templates)
    return Values(own=own, given=before(action.get("pre_process_function"), input))


def _text(values: Values, name: str) -> str | None:
    found = values.given.get(name, values.own.get(name))
    return None if found is None else json_text(found)


def _payload(action: dict[str, Any], values: Values) -> bytes:
    template = action.get("request_body")
    if template is None:
        return (_text(values, "http_body") or "").encode("utf-8", "replace")
    check = _text(values, "skip_validating_missing_parameters") != "true"
    return fill_body(template, values, check=check).encode("utf-8", "replace")


def _headers(ready: Ready, action: dict[str, Any]) -> dict[str, str]:
    own = ready.connector.parameters or {}
    given = action.get("headers") or {}
    headers = {name: fill_header(str(value), own, ready.credential) for name, value in given.items()}
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    return headers
