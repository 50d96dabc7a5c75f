"""Process settings: one table from which flags, BRIDGE_... variables, the config file and the README's table are made.

Order: a flag beats a variable beats the config file (TOML, same names with underscores) beats the default. Cluster-wide
`plugins.ml_commons.*` settings are not here: they live in the cluster.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

SECRETS = ("password", "bearer_token", "secret_key")
ROLES = ("proxy", "ml")

_PREFIX = re.compile(r"(?![-_+])[a-z0-9._+!$&'()=@~-]{1,200}")
"""What may begin the name of an index by OpenSearch's rules (no capitals, blanks or any of \\ / * ? " < > | , # :, at
most 255 bytes in all), as far as it can stand in a URL as it is."""
_PREFIX_RULE = "lower-case letters, digits and . _ - + ! $ & ' ( ) = @ ~, begun by none of - _ +"


def _option(default: Any, help: str, *, name: str | None = None, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"help": help, "name": name, "metavar": metavar})


def default_data_dir() -> str:
    """$XDG_DATA_HOME/opensearch-ml-bridge, or the same under ~/.local/share."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "opensearch-ml-bridge")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything one `bridge` process tree is told from outside. Sizes in bytes, times in seconds."""

    cluster: str = _option(
        "http://127.0.0.1:9200", "The cluster's URL; several nodes separated by commas.", metavar="URL"
    )
    listen: str = _option("127.0.0.1:9700", "Where clients connect.", metavar="HOST:PORT")
    roles: str = _option("proxy,ml", "What this bridge does: proxy, ml, or both.", metavar="ROLES")
    index_prefix: str = _option(".plugins-ml-", "Prefix of the bridge's system indices.", metavar="PREFIX")
    data_dir: str = _option("", "Folder for the node's id and cached models.", metavar="DIR")
    node_name: str = _option("", "Name of this node in logs and answers; the host name when empty.")
    advertise: str = _option("", "host:port at which other bridges reach this one, if not --listen.")

    user: str = _option("", "User name towards the cluster, for the bridge's own indices only.")
    password: str = _option("", "Password of --user (better: the variable, or --password-file).")
    password_file: str = _option("", "File that holds the password.", metavar="FILE")
    bearer_token: str = _option("", "Bearer token towards the cluster (better: the variable or file).")
    bearer_token_file: str = _option("", "File that holds the bearer token.", metavar="FILE")
    client_cert: str = _option("", "Client certificate towards the cluster (PEM).", metavar="FILE")
    client_key: str = _option("", "Key of the client certificate (PEM).", metavar="FILE")
    ca: str = _option("", "CA that signed the cluster's certificate (PEM); the system's when empty.", metavar="FILE")
    verify: bool = _option(True, "Check the cluster's certificate.")
    aws_region: str = _option("", "Sign the bridge's own requests with AWS SigV4 for this region.")
    aws_service: str = _option("es", "AWS service name for signing: es, or aoss.")

    secret_key: str = _option(
        "", "Encrypts connectors' credentials: base64 of 32 bytes, the same for all bridges (better: the variable)."
    )
    secret_key_file: str = _option(
        "", "File that holds the secret key; secret.key in the data folder when empty.", metavar="FILE"
    )

    tls_cert: str = _option("", "Serve clients by TLS with this certificate (PEM).", metavar="FILE")
    tls_key: str = _option("", "Key of --tls-cert (PEM).", metavar="FILE")
    fronts: int = _option(0, "Front-door processes sharing the port; 0 picks by cores.")
    max_connections: int = _option(10_000, "Open client connections at most.")
    max_body: int = _option(100 * 1024 * 1024, "Largest request body in bytes (the cluster's default).")
    header_timeout: float = _option(10.0, "Seconds for a request's head to arrive.")
    body_timeout: float = _option(30.0, "Seconds a body may stand still.")
    keepalive: float = _option(75.0, "Seconds an idle client connection stays open.")
    upstream_timeout: float = _option(0.0, "Seconds without a byte from the cluster before 504; 0 means an hour.")
    trust_forwarded: bool = _option(False, "Pass on X-Forwarded-For as clients send it.")

    device: str = _option("auto", "Where models run: auto, cpu, cuda or cuda:N.")
    threads: int = _option(0, "Cores for inference; 0 takes all this process may use.")
    max_queue: int = _option(1024, "Texts that may wait per model before 429.")
    token_budget: int = _option(0, "Tokens in one inference batch; 0 picks by device.")
    allow_torchscript: bool = _option(True, "Load TorchScript files (they can carry code).")
    allow_model_urls: bool = _option(True, "Register models by http, https and s3 URL.")
    allow_file_urls: bool = _option(False, "Register models by file:// URL, too.")
    ml_roles: str = _option(
        "",
        "Roles of the security plugin that may use the ML routes, separated by commas; all users when empty.",
        metavar="ROLES",
    )
    trusted_url_regex: str = _option(
        r"^(https?|ftp|file|s3)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]",
        "A model's URL must match this.",
    )
    model_repository: str = _option(
        "", "Where pretrained models lie that are registered by name: a URL or a folder.", metavar="URL"
    )
    max_model_bytes: int = _option(10 * 1024**3, "Largest model zip to download.")

    lease: float = _option(12.0, "Seconds after which a silent worker's task goes to another.")
    poll_every: float = _option(2.0, "Seconds between looks at the task queue (new tasks nudge at once).")
    sync_every: float = _option(2.5, "Seconds between comparisons of what is deployed with what should be.")
    task_slots: int = _option(10, "Tasks one ml node works on at a time.")
    deploy_timeout: float = _option(600.0, "Seconds a deploy task waits for its nodes.")
    auto_deploy_local: bool = _option(False, "Deploy local models on their first predict, too, as remote ones are.")
    grace: float = _option(30.0, "Seconds to finish open work after SIGTERM.")

    log_level: str = _option("INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = _option("auto", "json, console, or auto (console on a terminal).")

    def __post_init__(self) -> None:
        self._take_credentials_out_of_urls()
        unknown = set(self.role_set) - set(ROLES)
        if unknown or not self.role_set:
            raise ValueError(f"--roles takes proxy, ml or both, not {self.roles!r}")
        self.listen_address  # noqa: B018  (a wrong one is said at once)
        if not _PREFIX.fullmatch(self.index_prefix):
            raise ValueError(f"--index-prefix takes {_PREFIX_RULE}, not {self.index_prefix!r}")
        for url in self.cluster_urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"--cluster takes http:// or https:// URLs, not {url!r}")
        for word in self.secret_key.replace(",", " ").split():
            if not _is_key(word):
                raise ValueError("--secret-key takes base64 of 32 random bytes (openssl rand -base64 32)")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("--tls-cert and --tls-key go together")

    def _take_credentials_out_of_urls(self) -> None:
        # A URL is shown in logs and answers, and is told to processes that get no credentials.
        plain = []
        for url in self.cluster_urls:
            parts = urlsplit(url)
            if parts.username and not self.user:
                object.__setattr__(self, "user", unquote(parts.username))
                object.__setattr__(self, "password", self.password or unquote(parts.password or ""))
            plain.append(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
        object.__setattr__(self, "cluster", ",".join(plain))

    @property
    def cluster_urls(self) -> tuple[str, ...]:
        """The cluster's nodes, without trailing slashes."""
        return tuple(u.strip().rstrip("/") for u in self.cluster.split(",") if u.strip())

    @property
    def role_set(self) -> tuple[str, ...]:
        """The roles in the order given."""
        return tuple(r.strip() for r in self.roles.split(",") if r.strip())

    @property
    def listen_address(self) -> tuple[str, int]:
        """(host, port); raises ValueError when --listen is not HOST:PORT."""
        host, _, port = self.listen.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise ValueError(f"--listen takes HOST:PORT, not {self.listen!r}")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  (":9700" means every address, as elsewhere)

    @property
    def node(self) -> str:
        """The node's name."""
        return self.node_name or socket.gethostname()

    @property
    def advertised(self) -> str:
        """host:port for other bridges."""
        if self.advertise:
            return self.advertise
        host, port = self.listen_address
        return f"{socket.gethostname() if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104

    @property
    def front_count(self) -> int:
        """Front-door processes: one, and one more for every four further cores."""
        return self.fronts or max(1, len(os.sched_getaffinity(0)) // 4)

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data_dir or default_data_dir())

    def with_secrets(self) -> Settings:
        """Read the secret files, so that children need no access to them. Raises OSError."""
        read: dict[str, Any] = {}
        for name in SECRETS:
            path = getattr(self, f"{name}_file")
            if path and not getattr(self, name):
                read[name] = Path(path).read_text(encoding="utf-8").strip()
        return replace(self, **read) if read else self

    def to_json(self) -> str:
        """For a child process, over a pipe: this holds secrets."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What `to_json` wrote."""
        return cls(**json.loads(text))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{f.name}={'***' if f.name in SECRETS and getattr(self, f.name) else repr(getattr(self, f.name))}"
            for f in fields(self)
        )
        return f"Settings({shown})"


def _is_key(word: str) -> bool:
    try:
        return len(base64.b64decode(word, validate=True)) == 32
    except ValueError:
        return False


def option_fields() -> tuple[Field[Any], ...]:
    """The table: each field's name, type, default and help."""
    return fields(Settings)


def default_of(option: Field[Any]) -> Any:
    """The default of one option."""
    return None if option.default is MISSING else option.default


def variable(option: Field[Any]) -> str:
    """The environment variable of one option."""
    return f"BRIDGE_{option.name.upper()}"


def read_file(path: Path) -> dict[str, Any]:
    """The config file's options. Raises ValueError naming a key that is no option, OSError, or a TOML error."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {f.name for f in option_fields()}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"{path}: unknown option {name!r}")
        if isinstance(value, list):
            table[name] = ",".join(str(v) for v in value)
    return table


def read(given: Mapping[str, Any], file: Path | None) -> Settings:
    """Settings from flags and variables (`given`, None where not set) over the config file over the defaults."""
    values = read_file(file) if file else {}
    values.update({name: value for name, value in given.items() if value is not None})
    return Settings(**values).with_secrets()
