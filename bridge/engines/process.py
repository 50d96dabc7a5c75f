"""The inference process: `python -m bridge.engines.process --fd N`, N being one end of a socket pair.

One thread reads frames, one loads and unloads, the crews compute; answers are written by whoever has them. The
process ends when the application's end closes. A model whose native code crashes takes this process along and nothing
else: the application starts it again.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bridge.engines import frames, inputs, onnx
from bridge.engines.admission import OFF
from bridge.engines.batching import Job, Limits
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.host import Deployed, Host, explain_devices
from bridge.engines.session import ModelSpec

_PR_SET_PDEATHSIG = 1


class Connection:
    """Frames over a blocking socket; `send` may be called from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def read(self) -> tuple[dict[str, Any], bytes] | None:
        """The next frame, None at the end. Raises BadFrame."""
        prefix = self._exactly(frames.PREFIX.size)
        if prefix is None:
            return None
        head_size, payload_size = frames.sizes(prefix)
        head, payload = self._exactly(head_size), self._exactly(payload_size)
        if head is None or payload is None:
            return None
        return frames.header(head), payload

    def send(self, header: dict[str, Any], chunks: list[memoryview] | None = None) -> None:
        """Write one frame; an application that has gone is noticed by the reader, so that is no error here."""
        parts = [memoryview(frames.encode(header, sum(chunk.nbytes for chunk in chunks or [])))] + (chunks or [])
        with self._lock:
            try:
                self._send_all(parts)
            except OSError:
                return

    def _send_all(self, parts: list[memoryview]) -> None:
        sent = self._socket.sendmsg(parts)
        for part in parts:
            if sent < part.nbytes:
                self._socket.sendall(part[max(0, sent) :])
            sent -= part.nbytes

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                count = self._socket.recv_into(view[got:])
            except OSError:
                return None
            if not count:
                return None
            got += count
        return bytes(data)


class Server:
    """Answers one application's requests; every request has an `id`, which its answer repeats."""

    def __init__(self, connection: Connection, host: Host) -> None:
        self._connection, self._host = connection, host
        self._jobs: dict[int, tuple[Deployed, Job[Any]]] = {}
        self._slow: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loader = threading.Thread(target=self._load_loop, name="loader", daemon=True)
        self._quick: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "ping": lambda request: {"pid": os.getpid()},
            "stats": lambda request: self._host.stats(),
            "cancel": self._cancel,
        }
        self._long: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load,
            "unload": lambda request: {"unloaded": self._host.unload(str(request["model_id"]))},
            "devices": lambda request: {"lines": explain_devices()},
        }

    def serve(self) -> None:
        """Answer until the application's end closes or it asks to drain."""
        self._slow.put(_import_engines)
        self._loader.start()
        while True:
            frame = self._connection.read()
            if frame is None:
                return
            request = frame[0]
            if request.get("op") == "drain":
                self._drain(request)
                return
            self._handle(request)

    def _handle(self, request: dict[str, Any]) -> None:
        op = str(request.get("op"))
        if op == "predict":
            self._guarded(request, self._predict)
        elif op in self._quick:
            self._answer(request, self._quick[op])
        elif op in self._long:
            self._slow.put(lambda: self._answer(request, self._long[op]))
        else:
            self._refuse(request, EngineFault(FaultCode.BAD_FRAME, f"unknown operation [{op}]"))

    def _answer(self, request: dict[str, Any], work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._guarded(request, lambda r: self._connection.send({"id": r.get("id"), "ok": True, **work(r)}))

    def _guarded(self, request: dict[str, Any], work: Callable[[dict[str, Any]], None]) -> None:
        try:
            work(request)
        except EngineFault as fault:
            self._refuse(request, fault)
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(request, EngineFault(FaultCode.BAD_FRAME, f"bad request: {error}"))
        except Exception as error:  # this process serves other models too
            self._refuse(request, EngineFault(FaultCode.RUN_FAILED, f"{type(error).__name__}: {error}"))

    def _refuse(self, request: dict[str, Any], fault: EngineFault) -> None:
        self._connection.send({"id": request.get("id"), "ok": False, "code": fault.code, "reason": fault.reason})

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._host.load(
            str(request["model_id"]),
            Path(request["folder"]),
            ModelSpec.from_dict(request["spec"]),
            device=request.get("device"),
            allow_torchscript=bool(request.get("allow_torchscript")),
            native_memory_threshold=int(request.get("native_memory_threshold", OFF)),
        )

    def _predict(self, request: dict[str, Any]) -> None:
        number = int(request["id"])
        asked = inputs.from_json(request["input"])

        def done(deployed: Deployed, job: Job[Any]) -> None:
            self._jobs.pop(number, None)
            if job.fault is not None:
                self._refuse(request, job.fault)
            else:
                self._guarded(request, lambda r: self._send_rows(number, deployed.answer(asked, job)))

        deployed, job = self._host.submit(str(request["model_id"]), asked, done, timeout=request.get("timeout"))
        self._jobs[number] = (deployed, job)
        if job.over:  # done before it was noted
            self._jobs.pop(number, None)

    def _send_rows(self, number: int, rows: Sequence[frames.Row]) -> None:
        try:
            packed = frames.pack(rows)
            self._connection.send({"id": number, "ok": True, **packed.description}, packed.chunks)
        except frames.BadFrame as error:
            self._refuse({"id": number}, EngineFault(FaultCode.RUN_FAILED, str(error)))

    def _cancel(self, request: dict[str, Any]) -> dict[str, Any]:
        found = self._jobs.get(int(request["request"]))
        if found is not None:
            found[0].batcher.cancel(found[1])
        return {"found": found is not None}

    def _drain(self, request: dict[str, Any]) -> None:
        """Finish what was accepted, then answer."""
        self._slow.put(None)
        self._loader.join()
        self._host.finish()
        self._connection.send({"id": request.get("id"), "ok": True})

    def _load_loop(self) -> None:
        while (work := self._slow.get()) is not None:
            work()


def _import_engines() -> None:
    """Import what the first model will need, so that its deployment neither waits for it nor seems to need the room."""
    import tokenizers  # noqa: F401

    onnx.providers()


def _die_with_parent() -> None:
    """End with the application even while native code keeps the reader from noticing its end (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main(arguments: list[str] | None = None) -> int:
    """Serve on the inherited socket until its other end closes; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m bridge.engines.process")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--limits", type=orjson.loads, default={}, help="fields of batching.Limits, as JSON")
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(arguments)
    faulthandler.enable()
    os.umask(0o077)
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the application decides
    host = Host(limits=Limits(**options.limits), workers=options.workers)
    with socket.socket(fileno=options.fd) as sock:
        try:
            Server(Connection(sock), host).serve()
        except frames.BadFrame as error:
            sys.stderr.write(f"inference process: {error}\n")
            return 2
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Threads may be deep in native code; there is nothing left that needs an orderly end.
    os._exit(status)
