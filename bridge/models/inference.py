"""The application's side of the inference process: starts it, talks to it, starts it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog

from bridge import metrics
from bridge.background import Background
from bridge.domain.tensor import LocalInput, ModelTensor
from bridge.engines import frames, inputs
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import ModelSpec, Output, Said
from bridge.errors import BridgeError, InvalidRequest, TooManyRequests, Unavailable

log = structlog.get_logger(__name__)

_KEPT_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "PROMETHEUS_MULTIPROC_DIR",
)  # fmt: skip
_BACKOFF = (0.05, 0.2, 1.0, 3.0, 10.0)
"""Seconds before the next start after so many deaths in a row; a process that lived a minute starts over."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready. `expected_dimension` is what model_config says; they may differ, as in ML Commons."""

    device: str
    dimension: int
    expected_dimension: int | None
    memory_bytes: int
    load_seconds: float


@dataclass(eq=False)
class _Link:
    """One life of the child."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    dead: bool = False


@dataclass(frozen=True)
class ProcessOptions:
    """How the child is started; `limits` are fields of `bridge.engines.batching.Limits`, `workers` threads."""

    limits: Mapping[str, int] = field(default_factory=dict)
    workers: int | None = None
    start_timeout: float = 60.0
    load_timeout: float = 600.0
    allow_torchscript: bool = False
    device: str | None = None


class InferenceProcess:
    """Supervises one child. `on_exit(loading)` is awaited after each unwanted death, once the next one is up; its
    argument names the models that were being loaded when it died, which are the suspects.
    """

    def __init__(
        self,
        options: ProcessOptions | None = None,
        *,
        on_exit: Callable[[frozenset[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._options = options or ProcessOptions()
        self.on_exit = on_exit
        self._background = Background()
        self._link: _Link | None = None
        self._up = asyncio.Event()
        self._ids = itertools.count(1)
        self._stopping = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id; None while it is down."""
        return None if self._link is None else self._link.process.pid

    @property
    def alive(self) -> bool:
        """Whether a child is up and takes calls."""
        return self._up.is_set()

    async def start(self) -> None:
        """Start the child and its supervision. Raises Unavailable when it does not come up in time."""
        self._background.start(self._supervise(), name="inference-process")
        try:
            await asyncio.wait_for(self._up.wait(), self._options.start_timeout)
        except TimeoutError:
            await self.stop()
            raise Unavailable("the inference process did not start") from None

    async def stop(self, *, drain: float = 0.0) -> None:
        """End the child: let it finish accepted calls for `drain` seconds, then close its socket, then kill it."""
        self._stopping = True
        link = self._link
        if link is not None:
            if drain:
                with contextlib.suppress(BridgeError, TimeoutError):
                    await asyncio.wait_for(self._ask(link, {"op": "drain"}), drain)
            link.writer.close()
            try:
                await asyncio.wait_for(link.process.wait(), 5)
            except TimeoutError:
                _kill(link.process)
        await self._background.close()

    async def load(self, model_id: str, folder: Path, spec: ModelSpec, *, native_memory_threshold: int = 100) -> Loaded:
        """Load the model in `folder` and warm it up, unless more than this percentage of memory would be in use then.

        Raises EngineFault with the reason, Unavailable when the process died on it.
        """
        link = self._ready()
        link.loading.add(model_id)
        request = {
            "op": "load",
            "model_id": model_id,
            "folder": str(folder),
            "spec": spec.to_dict(),
            "device": self._options.device,
            "allow_torchscript": self._options.allow_torchscript,
            "native_memory_threshold": native_memory_threshold,
        }
        try:
            head, _ = await self._ask(link, request, self._options.load_timeout)
        finally:
            if not link.dead:  # a dead link keeps its suspects for on_exit
                link.loading.discard(model_id)
        return Loaded(**{name: head[name] for name in Loaded.__dataclass_fields__})

    async def unload(self, model_id: str) -> bool:
        """Free a model; False when it was not loaded."""
        head, _ = await self._ask(self._ready(), {"op": "unload", "model_id": model_id}, self._options.load_timeout)
        return bool(head["unloaded"])

    async def predict(
        self,
        model_id: str,
        input: LocalInput,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the child needs it too, to skip what is late
    ) -> list[list[ModelTensor]]:
        """The tensors of each text, in order; data are views onto the answer, empty tensors where filtered away.

        Raises TooManyRequests when the model's queue is full, Unavailable when the process is down, died, or does not
        answer within `timeout` seconds, InvalidRequest for another function's input, EngineFault for the rest.
        """
        request = {"op": "predict", "model_id": model_id, "input": inputs.to_json(input), "timeout": timeout}
        head, payload = await self._ask(self._ready(), request, None if timeout is None else timeout + 1.0)
        return [[_tensor(output) for output in row] for row in frames.unpack(head, payload)]

    async def stats(self) -> dict[str, Any]:
        """Figures of the process and its models; memory in bytes."""
        head, _ = await self._ask(self._ready(), {"op": "stats"}, 10.0)
        return {name: value for name, value in head.items() if name not in ("id", "ok")}

    async def devices(self) -> list[dict[str, str]]:
        """Lines for `bridge doctor`: {"level", "text"}."""
        head, _ = await self._ask(self._ready(), {"op": "devices"}, self._options.start_timeout)
        return list(head["lines"])

    def _ready(self) -> _Link:
        if self._link is None or not self._up.is_set():
            raise Unavailable("the inference process is not running")
        return self._link

    async def _ask(self, link: _Link, request: Mapping[str, Any], seconds: float | None = None) -> Any:
        if link.dead:
            raise Unavailable("the inference process died")
        number = next(self._ids)
        answer: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        link.waiting[number] = answer
        try:
            link.writer.write(frames.encode({"id": number, **request}))
            await link.writer.drain()
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            self._forget(link, number)
            raise Unavailable("the inference process did not answer in time") from None
        except (ConnectionError, frames.BadFrame) as error:
            raise Unavailable(f"the inference process cannot be reached: {error}") from None
        except asyncio.CancelledError:
            self._forget(link, number)
            raise
        finally:
            link.waiting.pop(number, None)

    def _forget(self, link: _Link, number: int) -> None:
        """Tell the child that nobody waits for this answer any more."""
        if not link.dead and not link.writer.is_closing():
            link.writer.write(frames.encode({"id": next(self._ids), "op": "cancel", "request": number}))

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        suspects: frozenset[str] | None = None
        while not self._stopping:
            began = loop.time()
            link = await self._spawn()
            self._link = link
            listening = self._background.start(self._listen(link), name="inference-answers")
            if await self._answers(link):
                self._up.set()
                if suspects is not None and self.on_exit is not None:
                    self._background.start(_awaited(self.on_exit(suspects)), name="inference-process-died")
                    suspects = None
            await listening
            suspects = (suspects or frozenset()) | await self._bury(link)
            if self._stopping:
                return
            self.restarts += 1
            deaths = 1 if loop.time() - began > 60 else deaths + 1
            delay = _BACKOFF[min(deaths, len(_BACKOFF)) - 1]
            log.warning(
                "inference process ended",
                action="inference.exit",
                status=link.process.returncode,
                loading=sorted(suspects),
                restart_in=delay,
            )
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))

    async def _answers(self, link: _Link) -> bool:
        """Whether a new child has got as far as answering; one that hangs before is killed."""
        try:
            await self._ask(link, {"op": "ping"}, self._options.start_timeout)
        except Unavailable:
            _kill(link.process)
            return False
        return True

    async def _spawn(self) -> _Link:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-m", "bridge.engines.process", "--fd", str(theirs.fileno())]
        command += ["--limits", orjson.dumps(dict(self._options.limits)).decode()]
        if self._options.workers:
            command += ["--workers", str(self._options.workers)]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                pass_fds=(theirs.fileno(),),
                env=child_environment(os.environ),
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        link = _Link(process, reader, writer)
        log.info("inference process started", action="inference.start", pid=process.pid)
        return link

    async def _listen(self, link: _Link) -> None:
        """Hand answers out until the child closes its end."""
        try:
            while True:
                head_size, payload_size = frames.sizes(await link.reader.readexactly(frames.PREFIX.size))
                head = frames.header(await link.reader.readexactly(head_size))
                payload = await link.reader.readexactly(payload_size) if payload_size else b""
                waiting = link.waiting.get(head.get("id") or 0)
                if waiting is not None and not waiting.done():
                    if head.get("ok"):
                        waiting.set_result((head, payload))
                    else:
                        waiting.set_exception(_error(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except frames.BadFrame as error:
            log.error("unreadable frame", action="inference.frame", error=str(error))
        finally:
            link.dead = True
            for waiting in link.waiting.values():
                if not waiting.done():
                    waiting.set_exception(Unavailable("the inference process died"))

    async def _bury(self, link: _Link) -> frozenset[str]:
        """Clear up after a child whose socket has closed; the models it was loading."""
        self._up.clear()
        self._link = None
        suspects = frozenset(link.loading)
        link.writer.close()
        if not self._stopping:
            _kill(link.process)  # it closed its socket and may yet linger
        await link.process.wait()
        metrics.forget_process(link.process.pid)
        return suspects


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the child gets: no credentials, one thread per run (its crew fills the cores), no forked tokenizing."""
    kept = {name: environment[name] for name in _KEPT_ENVIRONMENT if name in environment}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
    }


def _error(head: Mapping[str, Any]) -> BridgeError:
    reason = str(head.get("reason", "the inference process failed"))
    try:
        code = FaultCode(str(head.get("code")))
    except ValueError:
        code = FaultCode.RUN_FAILED
    if code is FaultCode.QUEUE_FULL:
        return TooManyRequests(reason)
    if code is FaultCode.BAD_INPUT:
        return InvalidRequest(reason)
    if code in (FaultCode.DEADLINE, FaultCode.CANCELLED):
        return Unavailable(reason)
    return EngineFault(code, reason)


def _tensor(output: Output | Said | None) -> ModelTensor:
    if output is None:
        return ModelTensor()
    if isinstance(output, Said):
        return ModelTensor(name=output.name, result=output.result, data_as_map=output.data_as_map)
    array = output.array
    return ModelTensor(
        name=output.name,
        data_type=frames.data_type(array),
        shape=tuple(array.shape),
        data=array.reshape(-1),
        byte_buffer=array.tobytes() if output.with_bytes else None,
    )
