"""What the supervisor tells a front process: a frozen value that travels as JSON."""

from __future__ import annotations

import dataclasses
import json
import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes; the defaults are at least what a cluster accepts with its own defaults."""

    request_line: int = 16_384
    field: int = 16_384 + 256
    fields: int = 2_000
    head: int = 262_144
    body: int = 104_857_600
    scanned_body: int = 8_388_608
    connections: int = 10_000
    pipelined: int = 65_536


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `response` counts from the last byte either way, and is long on purpose: what the cluster is
    willing to work on (`_forcemerge`, a snapshot that is waited for) is not the proxy's to cut; a client that
    gives up closes its connection, and that closes the cluster's."""

    head: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    connect: float = 5.0
    response: float = 3600.0
    client_stalled: float = 300.0
    upstream_idle: float = 30.0
    application_connect: float = 2.0
    health: float = 1.0
    linger: float = 2.0
    drain_delay: float = 0.0
    drain_idle: float = 2.0
    grace: float = 30.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of one side of a TLS connection; `verify` is only read on the side towards the cluster."""

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """`upstreams` are the cluster's nodes as `http(s)://host:port`; `application` is the UNIX socket of the slow
    lane; `run_dir` holds the lane table. `server_tls` set means that clients connect with TLS."""

    upstreams: tuple[str, ...]
    application: str
    run_dir: str
    upstream_tls: Tls = field(default_factory=Tls)
    server_tls: Tls | None = None
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    trust_forwarded: bool = False
    pass_tenant: bool = True
    breaker_failures: int = 5
    breaker_open: float = 2.0
    idle_upstreams: int = 256
    uvloop: bool = True

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> FrontConfig:
        """Raises ValueError for text that is not JSON, TypeError for a key that does not exist."""
        raw = json.loads(text)
        nested = {"limits": Limits, "timeouts": Timeouts, "upstream_tls": Tls, "server_tls": Tls}
        for key, kind in nested.items():
            if raw.get(key) is not None:
                raw[key] = kind(**raw[key])
        raw["upstreams"] = tuple(raw["upstreams"])
        return cls(**raw)


def client_context(tls: Tls) -> ssl.SSLContext:
    """The context towards an https cluster: its authority, and a client certificate when one is given."""
    context = ssl.create_default_context(cafile=tls.authority)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def server_context(tls: Tls) -> ssl.SSLContext:
    """The context towards clients; an `authority` demands client certificates signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate or "", tls.key)
    if tls.authority:
        context.load_verify_locations(tls.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
