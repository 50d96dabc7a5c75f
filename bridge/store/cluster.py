"""The client of the cluster: JSON in and out, bounded retries, and nothing but whole answers.

What is retried, and when (at most `attempts` tries, exponential waits with full jitter):

- no connection, 429: always; the cluster has not acted on the request.
- a cut connection, a time-out, 502, 503, 504, an answer that is not JSON: only where acting twice is the same as acting
  once (`idempotent`). Such an earlier try may have been carried out; `Answer.unsure` says so, and the caller that
  wrote with create-only or compare-and-set resolves a 409 by reading (bridge/store/cluster_documents.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog
from opensearchpy import AsyncOpenSearch
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from bridge.errors import ClusterError, ClusterUnavailable, kind_in, reason_in
from bridge.store.cluster_config import ClusterConfig
from bridge.store.exchange import Exchange, ExchangeConnection, ExchangeFailed, ExchangeTransport
from bridge.wire import dumps

log = structlog.get_logger(__name__)

REFUSED = (400, 401, 403, 405, 406, 413)
"""Statuses that stand even with a text body: the security plugin writes plain `Unauthorized`, for example."""

BUSY = (429, 502, 503, 504)

_READS = ("_search", "_count", "_mget", "_refresh", "_msearch")


@dataclass(frozen=True)
class Answer:
    """A whole answer. `body` is decoded JSON, None when empty, or text for a refusal that is not JSON.

    `unsure` is True when an earlier try of the same request may have been carried out too.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(repr=False)
    unsure: bool = False


@dataclass(frozen=True)
class ClusterInfo:
    """What the cluster is; `plugins` is empty where the caller may not ask (managed services)."""

    version: str
    distribution: str
    name: str
    plugins: frozenset[str]

    @property
    def has_knn(self) -> bool:
        """The k-NN plugin is installed."""
        return "opensearch-knn" in self.plugins

    @property
    def has_real_ml_commons(self) -> bool:
        """The plugin whose work the bridge does is installed."""
        return "opensearch-ml" in self.plugins

    @property
    def has_security(self) -> bool:
        """The security plugin is installed."""
        return "opensearch-security" in self.plugins


class _Failed(Exception):
    """One try without a usable answer."""

    def __init__(self, reason: str, *, acted: bool) -> None:
        super().__init__(reason)
        self.acted = acted


class Cluster:
    """A pool of connections to one cluster, under the bridge's own credentials."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        options: dict[str, Any] = {}
        if config.token is not None:
            options["headers"] = {"authorization": f"Bearer {config.token}"}
        if config.basic_auth is not None:
            options["http_auth"] = config.basic_auth
        if (tls := config.tls()) is not None:
            options["ssl_context"] = tls
        if config.aws_region is not None:
            from bridge.store.aws import signer

            options["sign"] = signer(config.aws_region, config.aws_service)
        self._client = AsyncOpenSearch(
            list(config.urls),
            transport_class=ExchangeTransport,
            connection_class=ExchangeConnection,
            timeout=config.timeout,
            maxsize=config.connections,
            **options,
        )

    def __repr__(self) -> str:
        return f"Cluster({', '.join(self.config.urls)})"

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        within: float | None = None,
    ) -> Answer:
        """The answer with a status below 400. `path` is percent-encoded; see `attempt` for the rest.

        Raises ClusterError (the cluster refused: its status and body) and ClusterUnavailable.
        """
        answer = await self.attempt(
            method, path, params=params, body=body, headers=headers, idempotent=idempotent, within=within
        )
        if answer.status >= 400:
            raise ClusterError(answer.status, answer.body)
        return answer

    async def attempt(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        within: float | None = None,
    ) -> Answer:
        """Like `request`, but an error answer is returned.

        `body` is a JSON value, or bytes that go out as they are. Without `idempotent`, everything but POST may be
        repeated, and of POST the reads. `headers` stand before the bridge's own, `authorization` included. `within`
        is seconds for one try. Raises ClusterUnavailable.
        """
        data, sent = _encode(path, body, headers)
        asked = Exchange(method, path, params or {}, data, sent, within or self.config.timeout)
        repeatable = idempotent if idempotent is not None else _repeatable(method, path)
        unsure = False
        tries = AsyncRetrying(
            stop=stop_after_attempt(self.config.attempts),
            wait=wait_random_exponential(multiplier=self.config.retry_pause, max=3),
            retry=retry_if_exception_type(_Failed),
            reraise=True,
        )
        try:
            async for attempt in tries:
                with attempt:
                    try:
                        answer = await self._once(asked)
                    except _Failed as failed:
                        unsure = unsure or failed.acted
                        if failed.acted and not repeatable:
                            raise self._unavailable(asked, failed) from failed
                        raise
        except _Failed as failed:
            raise self._unavailable(asked, failed) from failed
        return replace(answer, unsure=unsure)

    async def _once(self, asked: Exchange) -> Answer:
        try:
            transport: ExchangeTransport = self._client.transport
            status, headers, raw = await transport.exchange(asked)
        except ExchangeFailed as error:
            raise _Failed(str(error), acted=not error.unsent) from error
        if status in BUSY:
            raise _Failed(f"status {status}: {raw[:300].decode(errors='replace')}", acted=status != 429)
        if not raw:
            return Answer(status, None, headers)
        try:
            body = orjson.loads(raw)
            if status == 403 and is_block(body):
                # No lack of rights: nobody may write at the moment (a full disk, a closed index), and later may.
                raise _Failed(f"status {status}: {reason_in(body)}", acted=False)
            return Answer(status, body, headers)
        except orjson.JSONDecodeError as error:
            if status in REFUSED:
                return Answer(status, raw.decode(errors="replace"), headers)
            raise _Failed(f"status {status} with {len(raw)} bytes that are not JSON", acted=True) from error

    def _unavailable(self, asked: Exchange, failed: _Failed) -> ClusterUnavailable:
        where = ", ".join(self.config.urls)
        return ClusterUnavailable(
            f"no whole answer from the cluster at {where} to {asked.method} {asked.path}: {failed}"
        )

    async def info(self) -> ClusterInfo:
        """Version and plugins. Raises ClusterError and ClusterUnavailable."""
        root = (await self.request("GET", "/")).body or {}
        nodes = await self.attempt("GET", "/_nodes/plugins", params={"filter_path": "nodes.*.plugins.name"})
        found = nodes.body.get("nodes", {}) if nodes.status == 200 and isinstance(nodes.body, dict) else {}
        names = frozenset(plugin["name"] for node in found.values() for plugin in node.get("plugins", ()))
        version = root.get("version", {})
        return ClusterInfo(
            version=str(version.get("number", "unknown")),
            distribution=str(version.get("distribution", "unknown")),
            name=str(root.get("cluster_name", "unknown")),
            plugins=names,
        )

    async def wait_until_up(self, *, pause: float = 2.0) -> None:
        """Return once the cluster answers and has a manager, saying every `pause` seconds that it does not yet.

        Raises ClusterError when it refuses the bridge's credentials: waiting would not help.
        """
        waited = 0
        while True:
            try:
                health = await self.attempt("GET", "/_cluster/health", params={"local": "false"})
                if health.status == 401:
                    raise ClusterError(health.status, health.body)
                # 403 and 404: managed services that hide it; they answer, so they are up.
                return
            except ClusterUnavailable as error:
                waited += 1
                log.warning("waiting for the cluster", action="cluster.wait", tries=waited, reason=error.reason)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()


def is_block(body: Any) -> bool:
    """Whether an error answer, or an item of one, says that an index is blocked."""
    return kind_in(body) == "cluster_block_exception"


def _encode(path: str, body: Any, headers: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if body is None:
        return None, sent
    if isinstance(body, bytes):
        kind = "application/x-ndjson" if path.endswith(("_bulk", "_msearch")) else "application/json"
        sent.setdefault("content-type", kind)
        return body, sent
    sent.setdefault("content-type", "application/json")
    return dumps(body), sent


def _repeatable(method: str, path: str) -> bool:
    return method != "POST" or path.rpartition("/")[2] in _READS


__all__ = ["Answer", "Cluster", "ClusterConfig", "ClusterInfo"]
