"""What every live node says it has done, asked over the nodes' own door."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import aiohttp
import structlog

from bridge.domain.node import HeldState, Node
from bridge.engines import memory
from bridge.errors import InvalidRequest
from bridge.models.node import LiveNodes
from bridge.models.statistics import Statistics
from bridge.wire import loads

log = structlog.get_logger(__name__)

PATH = "/_bridge/internal/report"
SECONDS = 5.0
"""A node that takes longer is left out of the answer, as ML Commons leaves out nodes that fail."""
_CONNECTIONS = 32

Report = Mapping[str, Any]


class NodeReports:
    """Asks all nodes at once; `statistics` are this node's own."""

    def __init__(self, own_id: str, live: LiveNodes, statistics: Statistics, *, seconds: float = SECONDS) -> None:
        self._own_id = own_id
        self._live = live
        self._statistics = statistics
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def own(self) -> dict[str, Any]:
        """This node's report: counters, times of models, percent of the machine's memory in use."""
        have = await asyncio.to_thread(memory.read)
        used = round(100 * (have.total - have.available) / have.total) if have.total else 0
        told = self._statistics.report()
        times = {model_id: self._statistics.times(model_id) for model_id in self._statistics.models()}
        return {**told, "memory_used": used, "times": {name: found for name, found in times.items() if found}}

    async def gather(self, names: Sequence[str] = ()) -> dict[str, tuple[Node, Report]]:
        """Nodes by id, in order, with their reports: those that `names` mean (none: all). Silent ones are left out."""
        nodes = chosen(await self._live.fresh(), names, self._own_id)
        reports = await asyncio.gather(*(self._ask(node_id, node) for node_id, node in nodes.items()))
        return {
            node_id: (node, report)
            for (node_id, node), report in zip(nodes.items(), reports, strict=True)
            if report is not None
        }

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, node_id: str, node: Node) -> Report | None:
        if node_id == self._own_id:
            return await self.own()
        if not node.address:
            return None
        url = f"{node.address if '://' in node.address else 'http://' + node.address}{PATH}"
        headers = {"Authorization": f"Bearer {node.token or ''}"}
        try:
            async with self._open().get(url, headers=headers) as answer:
                if answer.status == 200:
                    told = loads(await answer.read())
                    return told if isinstance(told, dict) else None
                log.warning("no report", action="node.report", node=node_id, status=answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError, InvalidRequest) as error:
            log.warning("no report", action="node.report", node=node_id, reason=type(error).__name__)
        return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def chosen(nodes: Mapping[str, Node], names: Sequence[str], own_id: str) -> dict[str, Node]:
    """Nodes that are named by id or name, with wildcards, by `_local` or by `_all`; all for no names."""
    ordered = {node_id: nodes[node_id] for node_id in sorted(nodes)}
    if not names or "_all" in names:
        return ordered
    wanted = [own_id if name == "_local" else name for name in names]
    return {
        node_id: node
        for node_id, node in ordered.items()
        if any(fnmatchcase(node_id, name) or fnmatchcase(node.name, name) for name in wanted)
    }


def deployed_count(node: Node) -> int:
    """How many models the node has in memory."""
    return sum(held.state is HeldState.DEPLOYED for held in node.models)
