"""`/_bridge/health` and `/_bridge/metrics`: answered from the first moment on, whatever else is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bridge import metrics
from bridge.wire import dumps

Reasons = Callable[[], list[str]]


class Health:
    """What probes are told. Ready means: no reason against it; `reasons` are asked for at each probe.

    `started` is True once the indices are in place and all parts run; it stays so when the cluster goes away later.
    """

    def __init__(self, **identity: Any) -> None:
        self.identity = identity
        self.started = False
        self._waiting: dict[str, str] = {}
        self._asked: list[Reasons] = []
        self._troubles: list[Reasons] = []

    def wait_for(self, part: str, reason: str) -> None:
        """`part` is not ready, and why."""
        self._waiting[part] = reason

    def done(self, part: str) -> None:
        """`part` is ready."""
        self._waiting.pop(part, None)

    def ask(self, reasons: Reasons) -> None:
        """Also ask this at each probe."""
        self._asked.append(reasons)

    def mention(self, troubles: Reasons) -> None:
        """Also say this at each probe, as `troubles`: what somebody has to mend, and no reason to send nobody here."""
        self._troubles.append(troubles)

    @property
    def troubles(self) -> list[str]:
        """What is wrong though requests are served."""
        return [trouble for ask in self._troubles for trouble in ask()]

    @property
    def reasons(self) -> list[str]:
        """Why the bridge is not ready; empty when it is."""
        return [*self._waiting.values(), *(reason for ask in self._asked for reason in ask())]


Figures = Callable[[], Awaitable[metrics.ModelFigures]]


def add_health_routes(app: web.Application, health: Health, models: Figures | None = None) -> None:
    """The probes' routes: `/_bridge/health` (200 or 503), `.../live`, `.../ready`, and `/_bridge/metrics`."""

    async def state(_: web.Request) -> web.Response:
        reasons = health.reasons
        body = {"live": True, "ready": not reasons, "reasons": reasons, "troubles": health.troubles, **health.identity}
        return web.Response(body=dumps(body), status=503 if reasons else 200, content_type="application/json")

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def figures(_: web.Request) -> web.Response:
        # The text version, as Prometheus asks for it; reading other processes' files is not the event loop's work.
        told = None if models is None else await models()
        text = await asyncio.to_thread(metrics.render, told)
        return web.Response(body=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    app.router.add_get("/_bridge/health", state)
    app.router.add_get("/_bridge/health/ready", state)
    app.router.add_get("/_bridge/health/live", live)
    app.router.add_get("/_bridge/metrics", figures)
