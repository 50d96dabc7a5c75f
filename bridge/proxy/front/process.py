"""The front as a process: inherited listening sockets in, an exit code out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import socket
from collections.abc import Callable

from bridge.background import Background
from bridge.proxy.front.config import FrontConfig
from bridge.proxy.front.counting import Counts, Sink
from bridge.proxy.front.server import Front


class RegistrySink:
    """Hands counts to the metrics registry, which is imported with the process and not with this package."""

    def __init__(self) -> None:
        from bridge import metrics

        self._metrics = metrics

    def requests(self, lane: str, status: str, number: int) -> None:
        self._metrics.REQUESTS.labels(lane, status).inc(number)

    def added(self, lane: str, seconds: float) -> None:
        self._metrics.ADDED_LATENCY.labels(lane).observe(seconds)

    def connections(self, number: int) -> None:
        self._metrics.CONNECTIONS.set(number)

    def upstream_errors(self, cause: str, number: int) -> None:
        self._metrics.UPSTREAM_ERRORS.labels(cause).inc(number)


def run(config: FrontConfig, sockets: list[int], sink: Sink | None = None) -> None:
    """Serve on the listening file descriptors until SIGTERM or SIGINT, then drain. A second signal ends at once.

    `sink` takes the counts; without one they go to `bridge.metrics`.
    """
    listening = [_listening(number) for number in sockets]
    counts = Counts(sink if sink is not None else RegistrySink())
    # Nothing made so far is ever freed: the collector need not look at it again.
    gc.freeze()
    # A request makes a handful of objects and no cycles worth hunting after each few hundred of them.
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory(config.uvloop)) as runner:
        runner.run(_serve(Front(config, counts), listening))


async def _serve(front: Front, sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    stopping, hurried = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurried if stopping.is_set() else stopping).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await front.start(sockets)
    await stopping.wait()
    ending = Background()
    drain = ending.start(front.drain(), name="front.drain")
    hurry = ending.start(hurried.wait(), name="front.hurry")
    await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not drain.done():
        await front.close()
    await ending.close()


def _listening(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    return sock


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if wanted:
        with contextlib.suppress(ImportError):
            factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
            return factory
    return None
