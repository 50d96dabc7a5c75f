"""Reads values out of what a model answered, by the paths of an output map (contract/processors.md section 2)."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.domain.tensor import MLInput, MLOutput, ModelTensor, TextDocsInput
from bridge.errors import EngineError, InvalidRequest
from bridge.processors.jsonpath import PathNotFound, path_of
from bridge.wire import dumps, loads

MEAN, MAX = ".meanPooling()", ".maxPooling()"
_UNEXPECTED = "An unexpected error occurred: "


class ModelAnswer:
    """One answer; values that were read are shared, so they must not be changed."""

    def __init__(self, output: MLOutput, asked: MLInput, *, full_response_path: bool, ignore_missing: bool) -> None:
        self._output = output
        self._asked = asked
        self._full = full_response_path
        self._ignore_missing = ignore_missing
        self._read: dict[str | None, Any] = {}

    def value(self, path: str | None) -> Any:
        """The value at a path, None is the whole. Raises EngineError of type runtime_exception where nothing is, unless
        missing values are ignored, which gives the whole."""
        if path not in self._read:
            self._read[path] = self._at(path)
        return self._read[path]

    def pooled(self, path: str | None) -> Any:
        """As `value`, with `.meanPooling()` or `.maxPooling()` at the end of the path understood."""
        if path is None or not path.endswith((MEAN, MAX)):
            return self.value(path)
        mean = path.endswith(MEAN)
        return pooled(self.value(path.removesuffix(MEAN if mean else MAX)), mean=mean)

    @cached_property
    def whole(self) -> dict[str, Any]:
        """The answer as the predict API gives it, with all numbers as doubles."""
        results = []
        for result in self._output.inference_results:
            body: dict[str, Any] = {}
            if result.output:
                body["output"] = [_tensor_body(tensor, self._asked) for tensor in result.output]
            if result.status_code is not None:
                body["status_code"] = result.status_code
            results.append(_doubles(body))
        return {"inference_results": results}

    def _at(self, path: str | None) -> Any:
        if not self._full:
            return self._of_tensors(path)
        if path is None:
            return self.whole
        found = _found(self.whole, path)
        if found is None:
            if self._ignore_missing:
                return self.whole
            raise _wrong(f"model inference output cannot find such json path: {path}")
        return found

    def _of_tensors(self, path: str | None) -> Any:
        """Of the first result only: one tensor's value, or a list with one of each tensor."""
        results = self._output.inference_results
        if not results:
            raise _wrong("Model outputs are null or empty.")
        tensors = results[0].output
        if not tensors:
            raise _wrong("Output tensors are null or empty.")
        if len(tensors) == 1:
            return self._of_tensor(tensors[0], path, "")
        return [self._of_tensor(tensor, path, "Error accessing tensor data: ") for tensor in tensors]

    def _of_tensor(self, tensor: ModelTensor, path: str | None, problem: str) -> Any:
        if tensor.data_as_map is None:
            return _data(tensor, problem)
        if path is None:
            return tensor.data_as_map
        if path in tensor.data_as_map:
            return tensor.data_as_map[path]
        try:
            return path_of(path).require(tensor.data_as_map)
        except (PathNotFound, InvalidRequest):
            if self._ignore_missing:
                return tensor.data_as_map
            raise _wrong(f"{problem}model inference output cannot find field name: {path}") from None


def _wrong(reason: str) -> EngineError:
    return EngineError(_UNEXPECTED + reason, kind="runtime_exception")


def _found(document: Any, path: str) -> Any:
    try:
        return path_of(path).require(document)
    except (PathNotFound, InvalidRequest):
        return None


def _data(tensor: ModelTensor, problem: str) -> Any:
    if tensor.data is not None:
        return numbers(tensor.data)
    if tensor.result is not None:
        return tensor.result
    raise _wrong(f"{problem}unsupported data type in prediction data.")


def numbers(data: NDArray[Any]) -> Any:
    """An array as JSON numbers, each with the fewest digits that give the same float32 back."""
    return loads(dumps(np.ascontiguousarray(data))) if data.dtype.kind in "fiub" else data.tolist()


def _tensor_body(tensor: ModelTensor, asked: MLInput) -> dict[str, Any]:
    filters = asked if isinstance(asked, TextDocsInput) else TextDocsInput(text_docs=(), return_bytes=True)
    body: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type}
    body["shape"] = None if tensor.shape is None else list(tensor.shape)
    body["data"] = numbers(tensor.data) if tensor.data is not None and filters.return_number else None
    if tensor.byte_buffer is not None and filters.return_bytes:
        body["byte_buffer"] = {"array": base64.b64encode(tensor.byte_buffer).decode(), "order": "LITTLE_ENDIAN"}
    body["result"] = tensor.result
    body["dataAsMap"] = tensor.data_as_map
    return {name: value for name, value in body.items() if value is not None}


def _doubles(value: Any) -> Any:
    """The real server reads its own answer with a parser that knows no integers."""
    if isinstance(value, dict):
        return {name: _doubles(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_doubles(item) for item in value]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return double if math.isfinite(double := _float(value)) else value
    return value


def _float(value: float | Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def pooled(value: Any, *, mean: bool) -> list[float]:
    """One vector of a list of vectors, in float32. Raises InvalidRequest with ML Commons' texts."""
    name = "Mean" if mean else "Max"
    if not isinstance(value, list):
        raise InvalidRequest(f"{name} pooling requires a list input")
    if not value or not isinstance(value[0], list):
        raise InvalidRequest(f"{name} pooling requires nested array structure")
    if not all(isinstance(vector, list) for vector in value):
        raise InvalidRequest("All elements must be vectors (lists)")
    if any(len(vector) != len(value[0]) for vector in value):
        raise InvalidRequest("All vectors must have the same dimension")
    stacked = np.stack([_vector(vector, 0.0 if mean else -np.inf) for vector in value])
    found = stacked.sum(axis=0, dtype=np.float32) / np.float32(len(value)) if mean else stacked.max(axis=0)
    vector: list[float] = numbers(found.astype(np.float32))
    return vector


def _vector(values: Sequence[Any], otherwise: float) -> NDArray[np.float32]:
    known = (value if isinstance(value, int | float | Decimal) else otherwise for value in values)
    return np.array([_float(value) for value in known], dtype=np.float32)
