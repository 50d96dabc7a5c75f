"""`_predict`: texts in, tensors out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import (
    MLInput,
    MLOutput,
    ModelTensor,
    ModelTensors,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import InvalidRequest
from bridge.models.spec import is_asymmetric
from bridge.rest.answers import answer
from bridge.rest.body import parse_object, read_body
from bridge.rest.services import services

_TEXT_FUNCTIONS = (FunctionName.TEXT_EMBEDDING, FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE)
_ACTIONS = ("PREDICT", "EXECUTE", "BATCH_PREDICT", "CANCEL_BATCH_PREDICT", "BATCH_PREDICT_STATUS")
_KINDS = ("query", "passage")


async def predict(request: web.Request) -> web.Response:
    """Run a model on the texts of the body; the algorithm of the path chooses how the body is read."""
    to = services(request)
    model_id = request.match_info["model_id"]
    stored = await to.predictor.model(model_id)
    function = _function(request.match_info.get("algorithm") or request.query.get("algorithm"), stored.value)
    raw = await read_body(request)
    if not raw:
        raise InvalidRequest("request body is required", kind="parse_exception")
    asked = parse_input(parse_object(raw), function, stored.value)
    output = await to.predictor.predict(model_id, asked, caller=request.get(CALLER))
    return answer(request, output_body(output, asked))


def _function(algorithm: str | None, model: Model) -> FunctionName:
    if algorithm is None:
        return model.algorithm
    try:
        return FunctionName(algorithm.upper())
    except ValueError as error:
        raise InvalidRequest("Wrong function name") from error


def parse_input(body: Mapping[str, Any], function: FunctionName, model: Model) -> MLInput:
    """Read a predict body. Raises InvalidRequest with ML Commons' words."""
    if function is FunctionName.REMOTE and model.algorithm is FunctionName.REMOTE:
        return _remote(body)
    if function is FunctionName.TEXT_SIMILARITY:
        _require(body, "query_text", "No query text was provided")
        _require(body, "text_docs", "No text documents were provided")
        if model.algorithm is FunctionName.REMOTE:
            return TextSimilarityInput(query_text=_scalar(body["query_text"]), text_docs=_texts(body["text_docs"]))
    if function is FunctionName.QUESTION_ANSWERING:
        _require(body, "question", "Question is not provided")
        _require(body, "context", "Context is not provided")
    if function not in _TEXT_FUNCTIONS:
        raise InvalidRequest(f"{function} is not supported for this model")
    return TextDocsInput(
        text_docs=_texts(body.get("text_docs")),
        return_number=_switch(body.get("return_number"), True),
        return_bytes=_switch(body.get("return_bytes"), False),
        target_response=tuple(str(name) for name in _list(body.get("target_response"), "target_response")),
        target_response_positions=tuple(
            _position(value) for value in _list(body.get("target_response_positions"), "target_response_positions")
        ),
        kind=_kind(body.get("parameters"), model),
    )


def _remote(body: Mapping[str, Any]) -> RemoteInput:
    """What is no parameter and no action is ignored, `text_docs` too: those need an algorithm in the path."""
    parameters, action = body.get("parameters"), body.get("action_type")
    if parameters is not None and not isinstance(parameters, dict):
        raise InvalidRequest("parameters must be an object")
    if action is not None and str(action).upper() not in _ACTIONS:
        raise InvalidRequest(f"Wrong Action Type of {action}")
    return RemoteInput(parameters=parameters or {}, action_type=None if action is None else str(action))


def _require(body: Mapping[str, Any], name: str, problem: str) -> None:
    if not body.get(name):
        raise InvalidRequest(problem)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        raise InvalidRequest("Empty text docs")
    if not isinstance(value, list):
        raise InvalidRequest("text_docs must be an array of texts")
    texts = []
    for item in value:
        if item is None:
            raise InvalidRequest("text_docs must not hold null")
        if isinstance(item, (dict, list)):
            raise InvalidRequest("text_docs must be an array of texts")
        texts.append(item if isinstance(item, str) else _scalar(item))
    return tuple(texts)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switch(value: Any, default: bool) -> bool:
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{name} must be an array")
    return value


def _position(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f'For input string: "{value}"', kind="number_format_exception") from error


def _kind(parameters: Any, model: Model) -> str | None:
    """Which prefix the texts get. ML Commons has the same rules, but answers 500 where they are broken."""
    said = parameters.get("content_type") if isinstance(parameters, dict) else None
    if is_asymmetric(model):
        if said is None:
            raise InvalidRequest("This model has a query or passage prefix: parameters.content_type is required")
        if str(said).lower() not in _KINDS:
            raise InvalidRequest(f"content_type must be query or passage, not {said}")
        return str(said).lower()
    if said is not None:
        raise InvalidRequest("parameters.content_type needs a model with query_prefix or passage_prefix")
    return None


def output_body(output: MLOutput, input: MLInput) -> dict[str, Any]:
    """The envelope of a predict answer; arrays stay arrays, the JSON writer prints them."""
    return {"inference_results": [_result(result, input) for result in output.inference_results]}


def _result(result: ModelTensors, input: MLInput) -> dict[str, Any]:
    body: dict[str, Any] = {"output": [_tensor(tensor, input) for tensor in result.output]} if result.output else {}
    if result.status_code is not None:
        body["status_code"] = result.status_code
    return body


def _tensor(tensor: ModelTensor, input: MLInput) -> dict[str, Any]:
    numbers, raw = (input.return_number, input.return_bytes) if isinstance(input, TextDocsInput) else (True, True)
    body: dict[str, Any] = {}
    if tensor.name is not None:
        body["name"] = tensor.name
    if tensor.data_type is not None:
        body["data_type"] = tensor.data_type
    if tensor.shape is not None:
        body["shape"] = tensor.shape
    if tensor.data is not None and numbers:
        body["data"] = np.ascontiguousarray(tensor.data)
    if tensor.byte_buffer is not None and raw:
        body["byte_buffer"] = {"array": base64.b64encode(tensor.byte_buffer).decode(), "order": "LITTLE_ENDIAN"}
    if tensor.result is not None:
        body["result"] = tensor.result
    if tensor.data_as_map is not None:
        body["dataAsMap"] = tensor.data_as_map
    return body
