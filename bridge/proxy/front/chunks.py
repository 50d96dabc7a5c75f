"""The chunked coding of request bodies, read strictly: a size is hexadecimal digits and nothing else."""

from __future__ import annotations

import re

from bridge.proxy.front.heads import BadRequest

# Extensions carry nothing for the cluster and are dropped; a control character in one could hide a line end.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
_LONGEST_LINE = 4_096
_LONGEST_TRAILER = 16_384


class ChunkReader:
    """Takes bytes as they arrive, gives the body's bytes; `done` once the last chunk and the trailers were read.

    `rest` then holds what follows on the connection. Trailers are dropped.
    """

    __slots__ = ("_buffer", "_left", "_trailer", "_within", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._within = False
        self._trailer = -1
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in `data`, none of them empty. Raises BadRequest."""
        pieces: list[bytes] = []
        data = self._buffer + data if self._buffer else data
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            line_end = data.find(b"\n", at)
            if line_end < 0:
                break
            if line_end - at > _LONGEST_LINE or data[line_end - 1 : line_end] != b"\r" or line_end == at:
                raise BadRequest("A line of the chunked body is malformed.")
            self._line(data[at : line_end - 1])
            at = line_end + 1
        self._keep(data, at)
        return pieces

    def _line(self, line: bytes) -> None:
        if self._trailer >= 0:
            self._trailer += len(line)
            if not line:
                self.done = True
            elif self._trailer > _LONGEST_TRAILER or not _TRAILER.fullmatch(line):
                raise BadRequest("The trailer of the chunked body is malformed.")
        elif self._within:
            if line:
                raise BadRequest("A chunk is longer than its size.")
            self._within = False
        else:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadRequest("A chunk size is malformed.")
            self._left = int(match[1], 16)
            if self._left:
                self._within = True
            else:
                self._trailer = 0

    def _keep(self, data: bytes, at: int) -> None:
        if self.done:
            self._buffer, self.rest = b"", data[at:]
            return
        self._buffer = data[at:]
        if len(self._buffer) > _LONGEST_LINE:
            raise BadRequest("A line of the chunked body is too long.")
        # Nothing but a line end may follow a chunk: refuse at once instead of waiting for a line that never ends.
        if self._within and not self._left and self._buffer not in (b"", b"\r"):
            raise BadRequest("A chunk is longer than its size.")
