"""The end of a listening socket: closing it resets connections that the kernel has taken and nobody has accepted yet,
so new ones are turned away first and those that wait are taken in."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import select
import socket
import struct
import sys
from collections.abc import Sequence

_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER of Linux, which Python does not name."""
_FLAGS_AT = 13
_SYN, _SYN_OR_ACK = 0x02, 0x12
# Classic BPF over a segment that begins with its TCP header: (code, if true, if false, value).
_NO_NEW_ONES = (
    (0x30, 0, 0, _FLAGS_AT),  # load the byte of flags
    (0x54, 0, 0, _SYN_OR_ACK),  # and
    (0x15, 0, 1, _SYN),  # is it a first segment?
    (0x06, 0, 0, 0),  # then drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep it all
)
_LOOK = 0.01


def turn_away(door: socket.socket) -> None:
    """Let no new connection begin at a listening socket, in whatever process it is open; those begun go on.

    Whoever tries meanwhile tries again by itself a second later and is refused, the door being closed by then. On
    systems other than Linux this does nothing.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *line) for line in _NO_NEW_ONES)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_NO_NEW_ONES), ctypes.addressof(kept))
    with contextlib.suppress(OSError):
        door.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


async def emptied(doors: Sequence[int], within: float) -> None:
    """Wait until no connection waits to be accepted at these file descriptors, `within` seconds at most."""
    waiting = select.poll()
    for door in doors:
        waiting.register(door, select.POLLIN)
    for _ in range(math.ceil(within / _LOOK)):
        if not waiting.poll(0):
            return
        await asyncio.sleep(_LOOK)
