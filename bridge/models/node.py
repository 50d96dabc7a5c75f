"""This node's document in the cluster, and which other nodes are alive."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

import structlog

from bridge.domain.node import HeldModel, Node
from bridge.errors import BridgeError, Conflict
from bridge.models.eligible import ML_ROLE
from bridge.models.identifier import random_id
from bridge.store.documents import Documents, Version
from bridge.tasks.lease import LeaseWatch

log = structlog.get_logger(__name__)

BEAT_SECONDS = 3.0
LEASE_SECONDS = 12.0
"""A node counts as gone when its document kept one version for so long on the observer's own monotonic clock."""
FORGET_SECONDS = 600.0
"""After so long the document of a dead node is removed."""
_MOST = 1000


class NodeIdentity:
    """The node's id, kept in the data folder so that a restarted node finds its plans again."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock: IO[str] | None = None
        self.id = ""

    def acquire(self) -> str:
        """Read or make the id; blocking. Raises Conflict when another process on this machine uses the folder."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = (self._data_dir / "node.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise Conflict(f"another bridge uses the data folder {self._data_dir}") from error
        path = self._data_dir / "node_id"
        known = path.read_text().strip() if path.exists() else ""
        self.id = known or random_id()
        if not known:
            path.write_text(self.id + "\n")
        return self.id

    def release(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class NodePulse:
    """Writes this node's document: at each beat, and at once when what it holds has changed."""

    def __init__(
        self,
        node_id: str,
        node: Node,
        documents: Documents[Node],
        *,
        every: float = BEAT_SECONDS,
        idle: Callable[[], dict[str, int]] | None = None,
    ) -> None:
        self.node_id = node_id
        self.node = node
        self.trouble = ""
        self._idle = idle or dict
        self._documents = documents
        self._every = every
        self._writing = asyncio.Lock()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Beat until `stop`; a cluster that does not answer is tried again at the next beat."""
        while not self._stopped.is_set():
            try:
                await self.beat()
            except BridgeError as error:
                log.warning("heartbeat failed", action="node.beat", node=self.node_id, reason=error.reason)
            except Exception:
                # A node that stops beating is dead to all others, so nothing may end this loop.
                log.exception("heartbeat failed", action="node.beat", node=self.node_id)
            try:
                await asyncio.wait_for(self._stopped.wait(), self._every)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Stop beating and take the document away, so that nobody waits for the lease to run out."""
        self._stopped.set()
        async with self._writing:
            try:
                await self._documents.delete(self.node_id, refresh=True)
            except BridgeError as error:
                log.warning("node document left behind", action="node.stop", node=self.node_id, reason=error.reason)

    async def beat(self, *, refresh: bool = False) -> None:
        """Write the document once. Raises ClusterUnavailable and ClusterError, which `trouble` keeps until the next."""
        async with self._writing:
            if self._stopped.is_set():
                return
            self.node = replace(self.node, beats=self.node.beats + 1, idle=self._idle())
            try:
                await self._documents.put(self.node_id, self.node, refresh=refresh)
            except BridgeError as error:
                self.trouble = error.reason
                raise
            self.trouble = ""

    async def publish(self, models: Sequence[HeldModel]) -> None:
        """Say what this node holds; what cannot be written now goes out with the next beat."""
        self.node = replace(self.node, models=tuple(models))
        try:
            await self.beat(refresh=True)
        except BridgeError as error:
            log.warning("report delayed", action="node.publish", node=self.node_id, reason=error.reason)

    def describe(self, **fields: object) -> None:
        """Change other fields (devices, memory, address) for the next beat."""
        self.node = replace(self.node, **fields)  # type: ignore[arg-type]


class LiveNodes:
    """The nodes whose documents move; each observer judges by its own monotonic clock.

    Who cannot write its own document (the cluster refuses writes, say) does not judge others by theirs standing still:
    until its own beats get through again, everybody that it knew lives, and then has a whole lease to show it.
    """

    def __init__(
        self,
        documents: Documents[Node],
        *,
        own: NodePulse | None = None,
        lease: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._own = own
        self._clock = clock
        self._lease = lease
        self._silent = LeaseWatch(lease, clock)
        self._dead = LeaseWatch(FORGET_SECONDS, clock)
        self._stopped = asyncio.Event()
        self._nodes: Mapping[str, Node] = MappingProxyType({})
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    @property
    def known(self) -> Mapping[str, Node]:
        """Live nodes as last read; this process's own as it is now."""
        if self._own is None:
            return self._nodes
        return {**self._nodes, self._own.node_id: self._own.node}

    def ml(self) -> dict[str, Node]:
        """Live nodes that run models, by id in order."""
        known = self.known
        return {each: known[each] for each in sorted(known) if ML_ROLE in known[each].roles}

    async def fresh(self, max_age: float = 0.0) -> Mapping[str, Node]:
        """`known`, read anew when older than `max_age` seconds; simultaneous callers share one read."""
        asked = self._clock()
        async with self._reading:
            if self._read_at < asked - max_age or self._read_at == float("-inf"):
                await self._read()
        return self.known

    async def run(self) -> None:
        """Look often enough that silence is noticed, until `stop`."""
        while not self._stopped.is_set():
            try:
                await self.fresh(self._lease / 4)
            except BridgeError as error:
                log.warning("nodes not read", action="node.read", reason=error.reason)
            except Exception:
                log.exception("nodes not read", action="node.read")
            try:
                await asyncio.wait_for(self._stopped.wait(), self._lease / 3)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def _read(self) -> None:
        started = self._clock()
        found = await self._documents.search({"match_all": {}}, size=_MOST)
        nodes: dict[str, Node] = {}
        blind = self._own is not None and bool(self._own.trouble)
        for stored in found:
            if blind:
                self._silent.forget(stored.id)
                self._dead.forget(stored.id)
                if stored.id in self._nodes:
                    nodes[stored.id] = stored.value
                continue
            gone = self._silent.observe(stored.id, stored.version)
            if self._dead.observe(stored.id, stored.version):
                await self._forget(stored.id, stored.version)
            if not gone:
                nodes[stored.id] = stored.value
        ids = [stored.id for stored in found]
        self._silent.retain(ids)
        self._dead.retain(ids)
        self._nodes = MappingProxyType(nodes)
        self._read_at = started

    async def _forget(self, node_id: str, version: Version) -> None:
        try:
            await self._documents.delete(node_id, version=version)
        except Conflict:
            # It beats again, or somebody else removed it.
            return
