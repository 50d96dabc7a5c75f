"""`_predict`: texts in, tensors out."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, MLOutput, ModelTensor, ModelTensors, RemoteInput, TextDocsInput
from bridge.errors import InvalidRequest
from bridge.models.predict_input import TEXT_FUNCTIONS, parse_input
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import parse_object, read_body
from bridge.rest.services import services

_WHOLE = TextDocsInput(text_docs=(), return_bytes=True)


async def predict(request: web.Request) -> web.Response:
    """Run a model on what the body says; the algorithm of the path chooses how the body is read."""
    return await _predict(request)


async def batch_predict(request: web.Request) -> web.Response:
    """The batch action of a remote model's connector; a local model just predicts, as in ML Commons."""
    if not services(request).settings.current.offline_batch_inference_enabled:
        raise InvalidRequest(
            "Offline Batch Inference is currently disabled. To enable it, update the setting "
            '"plugins.ml_commons.offline_batch_inference_enabled" to true.',
            kind="illegal_state_exception",
        )
    return await _predict(request, action="batch_predict")


async def _predict(request: web.Request, *, action: str | None = None) -> web.Response:
    to = services(request)
    model_id = request.match_info["model_id"]
    stored = await to.predictor.model(model_id)
    function = _function(request.match_info.get("algorithm") or request.query.get("algorithm"), stored.value)
    raw = await read_body(request)
    if not raw:
        raise InvalidRequest("request body is required", kind="parse_exception")
    body = parse_object(raw)
    if function in TEXT_FUNCTIONS:
        shapes.PREDICT.check(raw, body)
    asked = parse_input(body, function, stored.value)
    if action is not None and isinstance(asked, RemoteInput) and asked.action_type is None:
        asked = replace(asked, action_type=action)
    output = await to.predictor.predict(model_id, asked, caller=request.get(CALLER))
    return answer(request, output_body(output, asked))


def _function(algorithm: str | None, model: Model) -> FunctionName:
    if algorithm is None:
        return model.algorithm
    try:
        return FunctionName(algorithm.upper())
    except ValueError as error:
        raise InvalidRequest("Wrong function name") from error


def output_body(output: MLOutput, input: MLInput) -> dict[str, Any]:
    """The envelope of a predict answer; arrays stay arrays, the JSON writer prints them."""
    return {"inference_results": [_result(result, input) for result in output.inference_results]}


def _result(result: ModelTensors, input: MLInput) -> dict[str, Any]:
    # A remote model's answer comes whole: ML Commons heeds these filters in local models only.
    filters = input if isinstance(input, TextDocsInput) and result.status_code is None else _WHOLE
    body: dict[str, Any] = {"output": [_tensor(tensor, filters) for tensor in result.output]} if result.output else {}
    if result.status_code is not None:
        body["status_code"] = result.status_code
    return body


def _tensor(tensor: ModelTensor, filters: TextDocsInput) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if tensor.name is not None:
        body["name"] = tensor.name
    if tensor.data_type is not None:
        body["data_type"] = tensor.data_type
    if tensor.shape is not None:
        body["shape"] = tensor.shape
    if tensor.data is not None and filters.return_number:
        body["data"] = np.ascontiguousarray(tensor.data)
    if tensor.byte_buffer is not None and filters.return_bytes:
        body["byte_buffer"] = {"array": base64.b64encode(tensor.byte_buffer).decode(), "order": "LITTLE_ENDIAN"}
    if tensor.result is not None:
        body["result"] = tensor.result
    if tensor.data_as_map is not None:
        body["dataAsMap"] = tensor.data_as_map
    return body
