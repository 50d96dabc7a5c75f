"""Settings of indices, asked for with the caller's own rights.

A caller who may write or search but not read settings (403) is still served by what his indices ask for: then, and only
then, the bridge looks the names of the pipelines up under its own rights, and shows them to nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from bridge.errors import ClusterUnavailable, Forbidden, Unparsable
from bridge.proxy.slow.upstream import Reply, Upstream, sent_headers

Lookup = Callable[[str, str], Awaitable[tuple[int, Any]]]
"""`(method, raw path with query) -> (status, decoded body)` under the bridge's own rights; a status never raises."""


class Unauthenticated(Exception):
    """The cluster does not know the caller, and will say so to the request itself."""


class Lookups:
    """Asks one cluster."""

    def __init__(self, upstream: Upstream, own: Lookup | None = None) -> None:
        self._upstream = upstream
        self._own = own

    async def get(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        """Status and decoded body. Raises Unauthenticated, Forbidden (neither the caller nor the bridge may know),
        ClusterUnavailable."""
        sent = sent_headers(headers, replaced=True)
        for name in ("Content-Type", "Accept"):
            sent.popall(name, None)
        target = f"{path}?{urlencode(params, safe='*,')}" if params else path
        reply = await self._upstream.exchange(method, target, sent)
        if reply.status == 401:
            raise Unauthenticated
        if reply.status == 403:
            return await self._as_bridge(method, target)
        return reply.status, _decoded(reply)

    async def _as_bridge(self, method: str, target: str) -> tuple[int, Any]:
        if self._own is None:
            raise Forbidden(
                "The pipelines of this index can't be found out: the right to read its settings is missing."
            )
        return await self._own(method, target)


def _decoded(reply: Reply) -> Any:
    """Raises ClusterUnavailable for an answer that says nothing of the index."""
    try:
        body = reply.json()
    except Unparsable as error:
        raise ClusterUnavailable(f"The cluster answered {reply.status} without JSON.") from error
    if reply.status >= 500 or reply.status == 429:
        raise ClusterUnavailable(f"The cluster answered {reply.status} to reading the settings of an index.")
    return body
