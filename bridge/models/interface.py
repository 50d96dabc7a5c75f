"""A model's interface: JSON schemas (2020-12) that its inputs and outputs must fit."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from bridge.domain.caller import Caller
from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import (
    MLInput,
    MLOutput,
    ModelTensor,
    QuestionAnsweringInput,
    RemoteInput,
    TextDocsInput,
    TextSimilarityInput,
)
from bridge.errors import InvalidRequest
from bridge.store.documents import Stored
from bridge.wire import dumps, loads

_MOST = 1000
_PREDICT = "PREDICT"
_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "null": type(None),
}


@dataclass(frozen=True)
class _Schema:
    text: str
    schema: Any
    validator: Draft202012Validator | None
    problem: str | None = None


class InterfaceGuard:
    """A bridge.models.predictor.Guard for inputs; `judge` is its counterpart for outputs. Schemas are read once."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[str, _Schema] = OrderedDict()

    async def admit(self, stored: Stored[Model], input: MLInput, caller: Caller | None) -> None:
        """See Guard; raises InvalidRequest as ML Commons does."""
        schema = self._schema(stored.value, "input")
        if schema is not None and not (isinstance(input, RemoteInput) and _action(input) == "BATCH_PREDICT"):
            self._check("input", schema, _input(stored.value.algorithm, input, schema.schema))

    def judge(self, stored: Stored[Model], output: MLOutput) -> None:
        """Raises InvalidRequest when the output does not fit."""
        schema = self._schema(stored.value, "output")
        if schema is not None:
            self._check("output", schema, _output(output))

    def _schema(self, model: Model, side: str) -> _Schema | None:
        said = (model.interface or {}).get(side)
        if said is None:
            return None
        text = said if isinstance(said, str) else dumps(said).decode()
        known = self._schemas.get(text)
        if known is None:
            known = self._schemas[text] = _compiled(text)
        self._schemas.move_to_end(text)
        while len(self._schemas) > _MOST:
            self._schemas.popitem(last=False)
        return known

    def _check(self, side: str, schema: _Schema, instance: Any) -> None:
        problem = schema.problem
        if schema.validator is not None:
            found = [line for error in schema.validator.iter_errors(instance) for line in _messages(error)]
            shown = json.dumps(instance, ensure_ascii=False, separators=(",", ":"))
            failed = f"Validation failed: [{', '.join(found)}] for instance: {shown} with schema: {schema.text}"
            problem = failed if found else None
        if problem is not None:
            raise InvalidRequest(
                f"Error validating {side} schema, if you think this is expected, please update your '{side}' field in"
                f" the 'interface' field for this model: {problem}",
                kind="status_exception",
            )


def _compiled(text: str) -> _Schema:
    try:
        schema = loads(text)
        Draft202012Validator.check_schema(schema)
    except InvalidRequest as error:
        return _Schema(text, None, None, f"the schema is not JSON: {error.reason}")
    except SchemaError as error:
        return _Schema(text, None, None, f"this is not a JSON schema: {error.message}")
    return _Schema(text, schema, Draft202012Validator(schema))


def _messages(error: ValidationError) -> Iterator[str]:
    """In the words of the validator that ML Commons uses where it is one of the two usual mistakes."""
    path = error.json_path
    if error.validator == "required" and isinstance(error.instance, Mapping):
        # One error for each missing property comes anyway; its name stands in the message only.
        yield f"{path}: required property {error.message.removesuffix(' is a required property')} not found"
    elif error.validator == "type":
        expected: Any = error.validator_value
        listed = expected if isinstance(expected, str) else f"[{', '.join(expected)}]"
        yield f"{path}: {_type_of(error.instance)} found, {listed} expected"
    else:
        yield f"{path}: {error.message}"


def _type_of(value: Any) -> str:
    return next((name for name, kind in _TYPES.items() if type(value) is kind), "unknown")


def _action(input: RemoteInput) -> str:
    return (input.action_type or _PREDICT).upper()


def _input(function: FunctionName, input: MLInput, schema: Any) -> dict[str, Any]:
    """The input as ML Commons writes it for the check: filled in defaults, order of fields."""
    made: dict[str, Any] = {"algorithm": function.value}
    if isinstance(input, TextDocsInput):
        made |= {"text_docs": list(input.text_docs)}
        made |= {"return_bytes": input.return_bytes, "return_number": input.return_number}
        if input.target_response:
            made["target_response"] = list(input.target_response)
        if input.target_response_positions:
            made["target_response_positions"] = list(input.target_response_positions)
    elif isinstance(input, TextSimilarityInput):
        made |= {"query_text": input.query_text, "text_docs": list(input.text_docs)}
    elif isinstance(input, QuestionAnsweringInput):
        made |= {"question": input.question, "context": input.context}
    else:
        made |= {"parameters": _parameters(input.parameters, schema), "action_type": _action(input)}
    return made


def _parameters(parameters: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """Parameters are texts on the way to a connector; one whose schema is no string counts as the JSON it holds."""
    told = schema
    for step in ("properties", "parameters", "properties"):
        told = told.get(step) if isinstance(told, Mapping) else None
    rules = told if isinstance(told, Mapping) else {}
    return {name: _reread(value, rules.get(name)) for name, value in parameters.items()}


def _reread(value: Any, schema: Any) -> Any:
    text = value if isinstance(value, str) else dumps(value).decode()
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    try:
        return loads(text)
    except InvalidRequest:
        return text


def _output(output: MLOutput) -> dict[str, Any]:
    results = []
    for result in output.inference_results:
        made: dict[str, Any] = {"output": [_tensor(tensor) for tensor in result.output]}
        if result.status_code is not None:
            made["status_code"] = result.status_code
        results.append(made)
    return {"inference_results": results}


def _tensor(tensor: ModelTensor) -> dict[str, Any]:
    parts = {
        "name": tensor.name,
        "data_type": tensor.data_type,
        "shape": None if tensor.shape is None else list(tensor.shape),
        "data": None if tensor.data is None else tensor.data.tolist(),
        "result": tensor.result,
        "dataAsMap": tensor.data_as_map,
    }
    return {name: value for name, value in parts.items() if value is not None}
