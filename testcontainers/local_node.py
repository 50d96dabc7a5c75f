"""One OpenSearch process on loopback, run from a private work folder over a shared, read-only home."""

from __future__ import annotations

import atexit
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import node_traces
from cluster_variants import VARIANTS, Variant
from maven_artifacts import Unavailable
from opensearch_home import Home, libtorch_folder, prepare

START_SECONDS = 180.0
STOP_SECONDS = 30.0
SYSTEM_USER = "opensearch"
# Lines of the published jvm.options that write below the home, which nodes share read-only.
JVM_LINES_LEFT_OUT = ("logs/", "HeapDumpPath", "HeapDumpOnOutOfMemoryError", "-Xms", "-Xmx")


class LocalNode:
    """A node that can be started, killed, restarted on the same data and ports, and is gone when stopped.

    `folder`: keep data and logs there instead of in a temporary folder (and leave them after `stop`). `settings`: lines
    for opensearch.yml beside the variant's own. `detached`: the node outlives this process, and its pid is in `folder`.
    """

    def __init__(
        self,
        variant: str | Variant = "knn",
        *,
        folder: Path | None = None,
        port: int = 0,
        settings: Mapping[str, object] | None = None,
        heap: str | None = None,
        detached: bool = False,
    ) -> None:
        self.variant = VARIANTS[variant] if isinstance(variant, str) else variant
        self.port = port or free_port()
        self.transport_port = free_port()
        self.heap = heap or self.variant.heap
        self._settings = dict(settings or {})
        self._keep = folder is not None
        self._folder = folder
        self._detached = detached
        self._guard: subprocess.Popen[bytes] | None = None
        self._home: Home | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.variant.secured else 'http'}://127.0.0.1:{self.port}"

    @property
    def user(self) -> str:
        return "admin" if self.variant.secured else ""

    @property
    def password(self) -> str:
        return self.home.password

    @property
    def home(self) -> Home:
        if self._home is None:
            self._home = prepare(self.variant)
        return self._home

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = node_traces.new_folder(self.variant.name)
        return self._folder

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def pid(self) -> int:
        """The Java process's pid; 0 before the first start."""
        return node_traces.read_pid(self.folder / "pid")

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def start(self, seconds: float = START_SECONDS) -> LocalNode:
        """Start and wait until it answers. Raises Unavailable, with the end of its log, when it does not."""
        self._write_files()
        try:
            self._launch()
            self.wait_until_answering(seconds)
        except BaseException:
            self.stop()
            raise
        return self

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.config.is_dir():
            shutil.copytree(self.home.folder / "config", self.config)
            write_configuration(self.config, self._all_settings(), self.heap)
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        if os.geteuid() == 0:
            _give(self.folder, system_user())
        if self.home.libtorch:
            _link_files(self.home.libtorch, libtorch_folder(self.folder / "data"))

    def _all_settings(self) -> dict[str, object]:
        return {
            "cluster.name": f"bridge-test-{self.port}",
            "node.name": f"node-{self.port}",
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self.transport_port,
            "discovery.type": "single-node",
            # A laptop's full disk must not make the test indices read-only.
            "cluster.routing.allocation.disk.threshold_enabled": False,
            **self.variant.settings,
            **self._settings,
        }

    def _launch(self) -> None:
        (self.folder / "pid").unlink(missing_ok=True)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPENSEARCH_", "JAVA_"))
        }
        environment |= {
            "OPENSEARCH_JAVA_HOME": str(self.home.java),
            "OPENSEARCH_PATH_CONF": str(self.config),
            "OPENSEARCH_TMPDIR": str(self.folder / "tmp"),
            "HOME": str(self.folder),
        }
        user = system_user() if os.geteuid() == 0 else "-"
        watched = "0" if self._detached else str(os.getpid())
        guard = [
            sys.executable,
            str(Path(__file__).with_name("node_guard.py")),
            str(self.folder / "pid"),
            watched,
            user,
        ]
        with (self.folder / "out.log").open("ab") as log:
            self._guard = subprocess.Popen(
                [*guard, str(self.home.folder / "bin" / "opensearch")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not self._detached:
            atexit.register(self.stop)

    def wait_until_answering(self, seconds: float = START_SECONDS) -> None:
        """Return when the cluster reports at least yellow health. Raises Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running:
                raise Unavailable(f"OpenSearch {self.variant.version} ended while starting:\n{self.log_tail()}")
            health = self._health()
            if health in ("yellow", "green"):
                return
            time.sleep(0.25)
        raise Unavailable(f"OpenSearch {self.variant.version} gave no answer in {seconds:.0f} s:\n{self.log_tail()}")

    def _health(self) -> str:
        try:
            return str(self.get_json("/_cluster/health")["status"])
        except (OSError, ValueError, KeyError):
            return ""

    def get_json(self, path: str) -> dict[str, object]:
        """GET from the node with its own credentials. Raises OSError (urllib's errors are such) or ValueError."""
        request = urllib.request.Request(self.url + path)
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.variant.secured:
            pair = b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
            context = ssl.create_default_context(cafile=str(self.config / "root-ca.pem"))
            # The demo certificate predates the strict rules of newer OpenSSL.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            handlers.append(urllib.request.HTTPSHandler(context=context))
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            told = json.load(answer)
        return told if isinstance(told, dict) else {}

    def kill(self) -> None:
        """kill -9 the Java process, as a crash would, and wait until it is gone; data stay for `restart`."""
        if self._guard is None:
            return
        _signal(self.pid, signal.SIGKILL)
        self._guard.wait(STOP_SECONDS)

    def restart(self, seconds: float = START_SECONDS) -> None:
        """Start again with the same data, settings and ports, after `kill`, or after an orderly end made here."""
        if self.running:
            self._end()
        self._launch()
        self.wait_until_answering(seconds)

    def suspend(self) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        _signal(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        _signal(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the node and remove its folder, unless the caller gave one. May be called twice."""
        self._end()
        atexit.unregister(self.stop)
        if not self._keep and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        if self._guard is None:
            return
        _signal(self.pid, signal.SIGCONT)
        self._guard.terminate()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _signal(self.pid, signal.SIGKILL)
            self._guard.kill()
            self._guard.wait()

    def log_tail(self, lines: int = 15) -> str:
        log = self.folder / "out.log"
        text = log.read_text(errors="replace") if log.is_file() else ""
        return "\n".join(text.strip().splitlines()[-lines:]) or "(it wrote nothing)"

    def __enter__(self) -> LocalNode:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def write_configuration(config: Path, settings: Mapping[str, object], heap: str) -> None:
    """Append to the copied opensearch.yml (the demo security lines stay) and take out of jvm.options what a shared
    home cannot bear. JSON is YAML, so values need no YAML writer."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items()]
    with (config / "opensearch.yml").open("a") as out:
        out.write("\n" + "\n".join(lines) + "\n")
    options = (config / "jvm.options").read_text().splitlines()
    kept = [line for line in options if not any(part in line for part in JVM_LINES_LEFT_OUT)]
    (config / "jvm.options").write_text("\n".join([*kept, f"-Xms{heap}", f"-Xmx{heap}"]) + "\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def system_user() -> str:
    """The unprivileged account that root's nodes run as (OpenSearch refuses to run as root), made when missing."""
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        # 9: another test run has just made it.
        if subprocess.run(command, check=False).returncode not in (0, 9):
            raise Unavailable(f"OpenSearch will not run as root, and no user {SYSTEM_USER} could be made") from None
    return SYSTEM_USER


def _give(folder: Path, user: str) -> None:
    account = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        # Not the libraries hard-linked from the shared home: chown would reach through to it.
        if path.stat().st_nlink == 1 or path.is_dir():
            os.chown(path, account.pw_uid, account.pw_gid)


def _link_files(source: Path, target: Path) -> None:
    missing = [part for part in (target, *target.parents) if not part.is_dir()]
    target.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        account = pwd.getpwnam(system_user())
        for folder in missing:
            os.chown(folder, account.pw_uid, account.pw_gid)
    for file in source.iterdir():
        if not (target / file.name).exists():
            try:
                os.link(file, target / file.name)
            except OSError:
                shutil.copy(file, target / file.name)


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
