"""How to reach the cluster, and with which credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from bridge.errors import InvalidRequest


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Addresses, credentials and limits of the bridge's own client; secrets stay out of its repr.

    `urls` may carry `user:password@`, which moves into `user` and `password`. `ca`, `client_cert` and `client_key` are
    paths of PEM files. With `aws_region` each request is signed (SigV4) for `aws_service` (`es`, or `aoss` for
    serverless) with the credentials that boto3 finds. `timeout` is seconds for one exchange, `attempts` how often one
    request is tried in all, `connections` the most that are kept open to one address, `retry_pause` the first bound of
    the random waits between tries, in seconds.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    client_cert: str | None = None
    client_key: str | None = None
    ca: str | None = None
    verify: bool = True
    aws_region: str | None = None
    aws_service: str = "es"
    timeout: float = 30.0
    attempts: int = 4
    connections: int = 20
    retry_pause: float = 0.2

    def __post_init__(self) -> None:
        if not self.urls:
            raise InvalidRequest("no URL of a cluster is given")
        plain = []
        for url in self.urls:
            parts = urlsplit(url.rstrip("/"))
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidRequest(f"not an http or https URL of a cluster: {parts.scheme}://{parts.hostname or ''}")
            if parts.username is not None and self.user is None:
                object.__setattr__(self, "user", unquote(parts.username))
                object.__setattr__(self, "password", unquote(parts.password or ""))
            plain.append(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
        object.__setattr__(self, "urls", tuple(plain))

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User and password, unless a token or SigV4 stands in their place."""
        if self.user is None or self.token is not None or self.aws_region is not None:
            return None
        return self.user, self.password or ""

    def tls(self) -> ssl.SSLContext | None:
        """The context for https addresses; None when there is none. Raises InvalidRequest for unreadable files."""
        if not any(url.startswith("https:") for url in self.urls):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.client_cert:
                context.load_cert_chain(self.client_cert, self.client_key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequest(f"the certificate files of the cluster cannot be used: {error}") from error
        # Python 3.13 refuses certificates without a key identifier; clusters' own authorities often write such.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
