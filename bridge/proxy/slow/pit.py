"""Which indices a point in time is of, by its id. Pure.

The id is the server's own binary form, the same since points in time exist: a version, then a map of shards, each with
the name of its index.
"""

from __future__ import annotations

import base64
import binascii

from bridge.errors import InvalidRequest

_MOST_SHARDS = 100_000


def indices_of(pit_id: str) -> list[str]:
    """The names of the indices, without repetition, in the order of the id. Raises InvalidRequest."""
    try:
        data = base64.urlsafe_b64decode(pit_id + "=" * (-len(pit_id) % 4))
        return _read(_Bytes(data))
    except (binascii.Error, ValueError, IndexError) as error:
        raise InvalidRequest(f"invalid id: [{pit_id}]") from error


def _read(data: _Bytes) -> list[str]:
    data.number()  # version
    found: dict[str, None] = {}
    count = data.number()
    if count > _MOST_SHARDS:
        raise ValueError(count)
    for _ in range(count):
        found[data.text()] = None
        data.text()  # uuid of the index
        data.number()  # shard
        data.text()  # node
        if data.byte():
            data.text()  # alias of a remote cluster
        data.skip(8)  # id of the reader context
        data.text()  # its session
    return list(found)


class _Bytes:
    """Reads as the server's StreamInput does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise IndexError(self._at)

    def number(self) -> int:
        """A vint."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 35:
                raise ValueError(shift)

    def text(self) -> str:
        """A string: the number of its UTF-16 units, each written as one to three bytes."""
        units = []
        for _ in range(self.number()):
            first = self.byte()
            if first < 0x80:
                units.append(first)
            elif first >> 4 in (12, 13):
                units.append((first & 0x1F) << 6 | self.byte() & 0x3F)
            else:
                units.append((first & 0x0F) << 12 | (self.byte() & 0x3F) << 6 | self.byte() & 0x3F)
        return "".join(map(chr, units))
