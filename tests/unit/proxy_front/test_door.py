"""How a listening socket ends: who has come is served, who comes later is refused, and nobody is reset."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time

import pytest

from bridge.proxy.front.door import emptied, turn_away

linux = pytest.mark.skipif(sys.platform != "linux", reason="a socket filter of Linux")


@linux
def test_who_has_come_is_served_and_who_comes_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = door.getsockname()
        early = socket.create_connection(address)
        turn_away(door)
        taken, _ = door.accept()
        with early, taken:
            early.sendall(b"question")
            assert taken.recv(64) == b"question"
            taken.sendall(b"answer")
            assert early.recv(64) == b"answer"
        begun = threading.Event()
        outcome: list[BaseException | None] = []

        def late() -> None:
            begun.set()
            try:
                socket.create_connection(address, timeout=10).close()
                outcome.append(None)
            except OSError as error:
                outcome.append(error)

        thread = threading.Thread(target=late)
        thread.start()
        begun.wait()
        time.sleep(0.05)  # its first segment is on its way; nothing shows that it was dropped
        door.close()
        thread.join()
    assert [type(error) for error in outcome] == [ConnectionRefusedError]


async def test_the_wait_ends_when_all_have_been_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()):
        loop = asyncio.get_running_loop()

        def accept() -> None:
            door.accept()[0].close()

        loop.call_later(0.1, accept)
        before = loop.time()
        await emptied([door.fileno()], 5)
        assert 0.05 < loop.time() - before < 4


async def test_the_wait_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()):
        before = time.monotonic()
        await emptied([door.fileno()], 0.05)
        assert time.monotonic() - before < 4
