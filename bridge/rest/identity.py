"""Who calls: on a cluster with the security plugin only users that the cluster knows are served."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bridge.domain.caller import Caller
from bridge.errors import ClusterError, ClusterUnavailable
from bridge.store.cluster import Cluster
from bridge.store.cluster_config import ClusterConfig

KEEP_SECONDS = 10.0
OPEN_SECONDS = 60.0
_MOST = 1000
_CREDENTIALS = ("authorization", "cookie")
_PATH = "/_plugins/_security/authinfo"
_ADMIN_ROLE = "all_access"
_NO_ROUTE = "no handler found"


class Identities:
    """Asks the cluster with the caller's own credentials, and remembers a known caller for a few seconds.

    `secured` False: the cluster was found to have no security plugin, and everybody is anonymous.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        secured: bool | None = None,
        keep: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._keep = keep
        self._clock = clock
        self._always_open = secured is False
        self._open_until = float("-inf")
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    @classmethod
    def asking(cls, config: ClusterConfig, *, secured: bool | None = None) -> Identities:
        """Over connections of its own without the bridge's credentials: neither a header nor a client certificate of
        the bridge may vouch for a caller. Close it with `close`."""
        bare = replace(config, user=None, password=None, token=None, client_cert=None, client_key=None, aws_region=None)
        return cls(Cluster(bare), secured=secured)

    async def close(self) -> None:
        """Close the connections."""
        await self._cluster.close()

    async def of(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller as `authinfo` describes him; None on an open cluster. Raises ClusterError (401, 403 as it came)
        and ClusterUnavailable.

        Only credentials are read from `headers`; whatever else a client writes there proves nothing.
        """
        now = self._clock()
        if self._always_open or now < self._open_until:
            return None
        asked = {name: headers[name] for name in _CREDENTIALS if name in headers}
        key = hashlib.sha256(repr(sorted(asked.items())).encode()).digest()
        seen = self._known.get(key)
        if seen is not None and now - seen[0] < self._keep:
            return seen[1]
        return await self._ask(key, asked, now)

    async def _ask(self, key: bytes, asked: Mapping[str, str], now: float) -> Caller | None:
        answer = await self._cluster.attempt("GET", _PATH, headers=asked)
        if answer.status == 400 and _NO_ROUTE in str(answer.body):
            # The cluster has no security plugin.
            self._open_until = now + OPEN_SECONDS
            return None
        if answer.status in (401, 403):
            raise ClusterError(answer.status, answer.body)
        caller = caller_of(answer.body)
        self._known[key] = (now, caller)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return caller


def caller_of(told: Any) -> Caller:
    """A body of `authinfo` as a Caller. Raises ClusterUnavailable when it names nobody."""
    # Whatever else answers (a proxy before a cluster that restarts) must not open the door.
    name = told.get("user_name") if isinstance(told, dict) else None
    if not isinstance(name, str) or not name:
        raise ClusterUnavailable("the cluster did not say who calls")
    roles = _texts(told.get("roles"))
    return Caller(name=name, backend_roles=_texts(told.get("backend_roles")), roles=roles, admin=_ADMIN_ROLE in roles)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
