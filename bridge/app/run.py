"""The life of the application process: serve probes at once, start the rest in order, drain at SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from bridge.app.parts import Bridge
from bridge.background import Background
from bridge.errors import BridgeError, ClusterError, ClusterUnavailable, Conflict, Forbidden, InvalidRequest
from bridge.metrics import OPEN_TASKS
from bridge.rest.errors import Protocol
from bridge.settings import Settings
from bridge.store.indices import check_prefix, ensure_all

log = structlog.get_logger(__name__)

FATAL = 78
"""Exit code for what only another configuration mends (EX_CONFIG): the supervisor does not try again."""

_HEADS: Any = {"max_line_size": 65_536, "max_field_size": 65_536, "max_headers": 4_096}
"""The front door has judged the head already; nothing that it let in may fail here. Bytes, bytes, and a number."""

_RETRY_SECONDS = 3.0
_WATCH_SECONDS = 5.0


async def run(settings: Settings, *, run_dir: Path, door: int) -> int:
    """Until SIGTERM; the exit code. `door` is the listening socket, used when there is no front door before it."""
    try:
        bridge = Bridge(settings, run_dir)
    except (Conflict, InvalidRequest) as error:
        log.error(error.reason, action="app.refused")
        return FATAL
    return await Life(bridge, run_dir, door).live()


class _Server(web.Server):
    """Makes our own protocols."""

    def __call__(self) -> Protocol:
        return Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves an application with `Protocol`, which aiohttp gives no public place to name."""

    async def _make_server(self) -> _Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )


class Life:
    """Starts and stops the parts in order."""

    def __init__(self, bridge: Bridge, run_dir: Path, door: int) -> None:
        self._bridge = bridge
        self._run_dir = run_dir
        self._door = door
        self._background = Background()
        self._stopping = asyncio.Event()
        self._code = 0

    async def live(self) -> int:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        runner = Runner(
            self._bridge.web_app(),
            access_log=None,
            shutdown_timeout=self._bridge.settings.grace,
            keepalive_timeout=75,
            # A client that has gone takes its request to the cluster and its inference with it.
            handler_cancellation=True,
            **_HEADS,
        )
        await runner.setup()
        await self._site(runner).start()
        start = self._background.start(self._start(), name="start")
        try:
            await self._stopping.wait()
        finally:
            if not start.done():
                start.cancel()
            await self._stop(runner)
        return self._code

    def _site(self, runner: web.AppRunner) -> web.BaseSite:
        settings = self._bridge.settings
        if self._bridge.proxy is not None:
            return web.UnixSite(runner, str(self._run_dir / "app.sock"), backlog=4096)
        context = None
        if settings.tls_cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        return web.SockSite(runner, socket.socket(fileno=self._door), ssl_context=context)

    async def _start(self) -> None:
        try:
            await self._attach()
            await self._run_parts()
        except (Conflict, Forbidden, ClusterError, InvalidRequest) as error:
            # Waiting would not help: the message says which option to set.
            log.error(error.reason, action="app.refused")
            self._code = FATAL
            self._stopping.set()
            return
        except BridgeError as error:
            log.error(error.reason, action="app.failed")
            self._code = 1
            self._stopping.set()
            return
        self._bridge.health.started = True
        self._bridge.health.done("start")
        log.info("ready", action="app.ready", node_id=self._bridge.ground.node_id)

    async def _attach(self) -> None:
        """Wait for the cluster, check whose it is, put the indices in place."""
        ground, health = self._bridge.ground, self._bridge.health
        health.wait_for("start", f"waiting for the cluster at {self._bridge.settings.cluster}")
        while True:
            try:
                await ground.cluster.wait_until_up()
                info = await ground.cluster.info()
                check_prefix(info, ground.names.prefix)
                health.identity["cluster"] = {"name": info.name, "version": info.version}
                health.wait_for("start", "putting the system indices in place")
                await ensure_all(ground.cluster, ground.names)
                return
            except ClusterUnavailable as error:
                log.warning(error.reason, action="app.waiting")
                health.wait_for("start", error.reason)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _run_parts(self) -> None:
        bridge, start = self._bridge, self._background.start
        bridge.health.wait_for("start", "starting the parts")
        await bridge.ground.settings_now.refresh()
        start(bridge.ground.settings_now.run(), name="settings")
        if bridge.inference is not None:
            bridge.health.ask(self._inference_reasons)
            await bridge.inference.start()
        if bridge.proxy is not None:
            await bridge.proxy.pipelines.refresh()
            start(bridge.proxy.pipelines.run(), name="pipelines")
        start(bridge.models.run(), name="models")
        await bridge.models.live.fresh()
        if bridge.worker is not None:
            start(bridge.worker.run(), name="worker")
        start(self._watch(), name="watch")

    def _inference_reasons(self) -> list[str]:
        inference = self._bridge.inference
        return [] if inference is None or inference.alive else ["the inference process is not running"]

    async def _watch(self) -> None:
        """Keep what probes and Prometheus read of the cluster true."""
        health = self._bridge.health
        while True:
            try:
                await self._count_tasks()
                health.done("cluster")
            except BridgeError as error:
                health.wait_for("cluster", error.reason)
            await asyncio.sleep(_WATCH_SECONDS)

    async def _count_tasks(self) -> None:
        ground = self._bridge.ground
        states = {"terms": {"field": "state"}}
        body = {"size": 0, "track_total_hits": False, "aggs": {"states": states}}
        answer = await ground.cluster.request("POST", f"/{ground.names.claim}/_search", body=body)
        counted = {b["key"]: b["doc_count"] for b in answer.body["aggregations"]["states"]["buckets"]}
        for state in ("OPEN", "HELD"):
            OPEN_TASKS.labels(state.lower()).set(counted.get(state, 0))

    async def _stop(self, runner: web.AppRunner) -> None:
        bridge = self._bridge
        bridge.health.wait_for("stop", "draining")
        log.info("draining", action="app.drain")
        if bridge.worker is not None:
            await bridge.worker.stop(grace=bridge.settings.grace)
        # Requests under way still need the models, so the door closes before they go.
        await runner.cleanup()
        if bridge.proxy is not None:
            bridge.proxy.pipelines.stop()
        await bridge.models.stop()
        if bridge.inference is not None:
            await bridge.inference.stop()
        bridge.ground.settings_now.stop()
        await self._background.close()
        if bridge.proxy is not None:
            await bridge.proxy.close()
        await bridge.ground.close()
        log.info("stopped", action="app.stopped")
