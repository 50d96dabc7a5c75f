"""What goes over the socket between the application and its inference process. Pure; both sides use it.

A frame is two little-endian u32 (length of the header, length of the payload), the header as JSON, the payload as raw
bytes. Vectors travel in the payload as raw little-endian arrays, described once by the header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from bridge.engines.session import Array, Output, Said

PREFIX = struct.Struct("<II")
MAX_HEADER = 256 << 20
"""Bytes; a header carries the texts of a call, and a request body is at most 100 MB."""
MAX_PAYLOAD = 1 << 30

_NAMES = {
    "f4": "FLOAT32",
    "f8": "FLOAT64",
    "f2": "FLOAT16",
    "i8": "INT64",
    "i4": "INT32",
    "i1": "INT8",
    "u1": "UINT8",
    "b1": "BOOLEAN",
}
_DTYPES = {name: np.dtype(f"<{code}") for code, name in _NAMES.items()}


class BadFrame(ValueError):
    """Not a frame of this protocol, or one beyond the limits."""


def encode(header: Mapping[str, Any], payload_size: int = 0) -> bytes:
    """The bytes before the payload. Raises BadFrame beyond the limits."""
    head = orjson.dumps(header)
    if len(head) > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise BadFrame(f"frame too large: header {len(head)}, payload {payload_size} bytes")
    return PREFIX.pack(len(head), payload_size) + head


def sizes(prefix: bytes) -> tuple[int, int]:
    """Header and payload lengths in bytes. Raises BadFrame."""
    if len(prefix) != PREFIX.size:
        raise BadFrame("cut prefix")
    header, payload = PREFIX.unpack(prefix)
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise BadFrame(f"frame too large: header {header}, payload {payload} bytes")
    return header, payload


def header(data: bytes) -> dict[str, Any]:
    """Read a header. Raises BadFrame when it is no JSON object."""
    try:
        value = orjson.loads(data)
    except ValueError:
        raise BadFrame("the header is not JSON") from None
    if not isinstance(value, dict):
        raise BadFrame("the header is not an object")
    return value


@dataclass(frozen=True)
class Packed:
    """Rows of tensors ready for the wire: a JSON description, and byte chunks that follow each other."""

    description: dict[str, Any]
    chunks: list[memoryview]

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return sum(chunk.nbytes for chunk in self.chunks)


Row = Sequence[Output | Said | None]
"""One text's tensors; None where a filter took one away."""


def pack(rows: Sequence[Row]) -> Packed:
    """Describe rows once when all look alike (arrays stacked per tensor), else one by one."""
    shapes = [[_described(output) for output in row] for row in rows]
    if rows and not any(isinstance(output, Said) for output in rows[0]) and all(shape == shapes[0] for shape in shapes):
        columns = [
            np.stack([row[place].array for row in rows])  # type: ignore[union-attr]
            for place, described in enumerate(shapes[0])
            if described is not None
        ]
        return Packed({"n": len(rows), "tensors": shapes[0]}, [_bytes(column) for column in columns])
    return Packed(
        {"rows": shapes}, [_bytes(output.array) for row in rows for output in row if isinstance(output, Output)]
    )


def unpack(description: Mapping[str, Any], payload: bytes | memoryview) -> list[list[Output | Said | None]]:
    """The rows `pack` was given; arrays are read-only views onto the payload. Raises BadFrame."""
    reader = _Reader(memoryview(payload))
    try:
        if "tensors" in description:
            rows = _uniform(description["n"], description["tensors"], reader)
        else:
            rows = [[reader.output(d) for d in row] for row in description["rows"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFrame(f"description and payload do not fit: {error}") from None
    reader.finish()
    return rows


def _uniform(count: int, described: Sequence[Any], reader: _Reader) -> list[list[Output | Said | None]]:
    columns: list[Iterable[Output | Said | None]] = []
    for entry in described:
        if entry is None:
            columns.append([None] * count)
        else:
            block = reader.array(entry["data_type"], (count, *entry["shape"]))
            columns.append([Output(entry["name"], part, "bytes" in entry) for part in block])
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(count)]


class _Reader:
    def __init__(self, payload: memoryview) -> None:
        self._payload, self._at = payload, 0

    def array(self, data_type: str, shape: tuple[int, ...]) -> Array:
        dtype = _DTYPES[data_type]
        count = int(np.prod(shape, dtype=np.int64))
        found = np.frombuffer(self._payload, dtype, count, self._at).reshape(shape) if count else np.zeros(shape, dtype)
        self._at += count * dtype.itemsize
        return found

    def output(self, entry: Mapping[str, Any] | None) -> Output | Said | None:
        if entry is None:
            return None
        if "said" in entry:
            return Said(**entry["said"])
        return Output(entry["name"], self.array(entry["data_type"], tuple(entry["shape"])), "bytes" in entry)

    def finish(self) -> None:
        if self._at != self._payload.nbytes:
            raise BadFrame(f"payload of {self._payload.nbytes} bytes, {self._at} described")


def data_type(array: Array) -> str:
    """The name ML Commons gives the array's element type (FLOAT32, INT64, ...). Raises BadFrame for others."""
    try:
        return _NAMES[array.dtype.newbyteorder("<").str[1:]]
    except KeyError:
        raise BadFrame(f"arrays of {array.dtype} cannot travel") from None


def _described(output: Output | Said | None) -> dict[str, Any] | None:
    if output is None:
        return None
    if isinstance(output, Said):
        return {"said": {name: value for name, value in vars(output).items() if value is not None}}
    described = {"name": output.name, "data_type": data_type(output.array), "shape": list(output.array.shape)}
    return {**described, "bytes": True} if output.with_bytes else described


def _bytes(array: Array) -> memoryview:
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return memoryview(plain.reshape(-1).view(np.uint8).data)
