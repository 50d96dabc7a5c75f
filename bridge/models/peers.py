"""Predict calls to other nodes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import quote

import aiohttp

from bridge.domain.node import HeldState, Node
from bridge.domain.tensor import LocalInput, MLInput, MLOutput, RemoteInput
from bridge.engines import inputs
from bridge.errors import (
    BridgeError,
    EngineError,
    InvalidRequest,
    TooManyRequests,
    Unavailable,
    kind_in,
    reason_in,
)
from bridge.models import tensor_frame
from bridge.models.states import report_of
from bridge.wire import dumps, loads

PATH = "/_bridge/internal/predict/"
_CONNECT_SECONDS = 2.0
_CONNECTIONS = 64


class NotHeld(Unavailable):
    """The node does not have the model (any more): ask another."""


class PeerLost(Unavailable):
    """The node did not answer: ask another."""


def local_input(input: MLInput) -> LocalInput:
    """The input, of a kind that models on ML nodes take. Raises InvalidRequest (ML Commons: 500)."""
    if isinstance(input, RemoteInput):
        raise InvalidRequest("A local model takes texts, not the parameters of a remote one.")
    return input


class Peers:
    """Chooses among the nodes that hold a model, and asks one."""

    def __init__(self, *, own_id: str | None = None) -> None:
        self._own_id = own_id
        self._session: aiohttp.ClientSession | None = None
        self._outstanding: Counter[str] = Counter()

    def choose(self, model_id: str, nodes: Mapping[str, Node], *, tried: set[str]) -> str | None:
        """A node that holds the model, with the fewest calls of ours under way; ties by chance."""
        fit = [
            node_id
            for node_id, node in nodes.items()
            if node_id not in tried and node_id != self._own_id and node.address and _holds(node, model_id)
        ]
        if not fit:
            return None
        return min(fit, key=lambda node_id: (self._outstanding[node_id], random.random()))

    def lighter(self, model_id: str, nodes: Mapping[str, Node]) -> bool:
        """Whether another node that holds the model has fewer calls of this process under way than this one."""
        chosen = self.choose(model_id, nodes, tried=set())
        return chosen is not None and self._outstanding[chosen] < self._outstanding[self._own_id or ""]

    def under_way(self) -> AbstractContextManager[None]:
        """Counts a call that this node itself runs."""
        return self._counted(self._own_id or "")

    async def predict(self, node_id: str, node: Node, model_id: str, input: MLInput, *, seconds: float) -> MLOutput:
        """Raises NotHeld and PeerLost (ask another), or what the node said."""
        base = node.address or ""
        url = f"{base if '://' in base else 'http://' + base}{PATH}{quote(model_id, safe='')}"
        limit = aiohttp.ClientTimeout(total=seconds + 1.0, sock_connect=_CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {node.token or ''}", "Content-Type": "application/json"}
        body = dumps({**inputs.to_json(local_input(input)), "seconds": seconds})
        with self._counted(node_id):
            try:
                async with self._open().post(url, data=body, headers=headers, timeout=limit) as answer:
                    raw = await answer.read()
                    if answer.status == 200:
                        return tensor_frame.decode(raw)
                    raise _failure(answer.status, raw)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise PeerLost(f"node {node_id} did not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @contextmanager
    def _counted(self, node_id: str) -> Iterator[None]:
        self._outstanding[node_id] += 1
        try:
            yield
        finally:
            self._outstanding[node_id] -= 1
            if not self._outstanding[node_id]:
                del self._outstanding[node_id]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _holds(node: Node, model_id: str) -> bool:
    report = report_of(node, model_id)
    return report is not None and report.state is HeldState.DEPLOYED


def _failure(status: int, raw: bytes) -> BridgeError:
    try:
        body: Any = loads(raw)
    except InvalidRequest:
        return PeerLost(f"a node answered {status}")
    reason, kind = reason_in(body) or f"a node answered {status}", kind_in(body)
    if status in (401, 404):
        return NotHeld(reason)
    if status == 429:
        return TooManyRequests(reason, kind=kind)
    if status == 400:
        return InvalidRequest(reason, kind=kind)
    if status == 503:
        return PeerLost(reason)
    return EngineError(reason, kind=kind)
