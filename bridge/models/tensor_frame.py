"""A predict answer as bytes between two nodes: a JSON head and the numbers as they lie in memory."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson

from bridge.domain.tensor import MLOutput, ModelTensor, ModelTensors
from bridge.errors import Unavailable

CONTENT_TYPE = "application/vnd.bridge-tensors"
_LENGTH = struct.Struct("<I")


def encode(output: MLOutput) -> bytes:
    """Head length (4 bytes, little-endian), head, then the arrays one after the other."""
    rows, parts = [], []
    for result in output.inference_results:
        row = []
        for tensor in result.output:
            described: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type, "result": tensor.result}
            described |= {"map": tensor.data_as_map, "bytes": tensor.byte_buffer is not None}
            if tensor.data is not None:
                data = np.ascontiguousarray(tensor.data)
                described |= {"shape": list(tensor.shape or data.shape), "dtype": data.dtype.str, "size": data.nbytes}
                parts.append(data.tobytes())
            row.append(described)
        rows.append(row)
    head = orjson.dumps(rows)
    return b"".join([_LENGTH.pack(len(head)), head, *parts])


def decode(frame: bytes) -> MLOutput:
    """Raises Unavailable when the frame is cut or unreadable."""
    try:
        (length,) = _LENGTH.unpack_from(frame)
        at = _LENGTH.size + length
        rows = orjson.loads(frame[_LENGTH.size : at])
        if at > len(frame) or not isinstance(rows, list):
            raise ValueError("no list of answers")
        results = []
        for row in rows:
            tensors = []
            for described in row:
                data = None
                if "dtype" in described:
                    data = np.frombuffer(frame[at : at + described["size"]], dtype=np.dtype(described["dtype"]))
                    at += described["size"]
                tensors.append(_tensor(described, data))
            results.append(ModelTensors(output=tuple(tensors)))
        if at != len(frame):
            raise ValueError(f"{len(frame) - at} bytes are left over or missing")
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the other node's answer cannot be read: {error}") from error
    return MLOutput(inference_results=tuple(results))


def _tensor(described: dict[str, Any], data: Any) -> ModelTensor:
    return ModelTensor(
        name=described["name"],
        data_type=described["data_type"],
        shape=tuple(described["shape"]) if data is not None else None,
        data=data,
        byte_buffer=data.tobytes() if data is not None and described["bytes"] else None,
        result=described["result"],
        data_as_map=described["map"],
    )
