"""`bridge serve`: the supervisor and its children."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from bridge import __version__, logs
from bridge.cli.options import settings_options
from bridge.cli.supervisor import Child, Supervisor, listen
from bridge.settings import Settings


@click.command()
@settings_options()
def serve(settings: Settings) -> None:
    """Serve clients at --listen in front of the cluster, run models, or both.

    Waits for a cluster that is not up yet. Searches that need no model pass from the first moment on; everything else
    once the system indices are in place (`GET /_bridge/health`). SIGTERM finishes open work first.
    """
    configure_logs(settings, "supervisor")
    folder = settings.folder
    with _only_one(folder), _run_dir() as run_dir:
        host, port = settings.listen_address
        try:
            door = listen(host, port)
        except OSError as error:
            raise click.ClickException(f"cannot listen on {settings.listen}: {error.strerror}") from error
        address = "{}:{}".format(*door.getsockname()[:2])
        click.echo(f"bridge {__version__} listens on {address} for {settings.cluster}", err=True)
        processes = children(settings, run_dir, door.fileno())
        supervisor = Supervisor(processes, grace=settings.grace, on_end=_forget, doors=[door])
        code = supervisor.run()
    raise SystemExit(code)


def configure_logs(settings: Settings, process: str) -> None:
    """JSON lines unless a person watches."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    logs.configure(level=settings.log_level, as_json=as_json, node=settings.node, process=process)


def children(settings: Settings, run_dir: Path, door: int) -> list[Child]:
    """The processes that the roles ask for; a bridge without the proxy role serves its own doors only."""
    proxy = "proxy" in settings.role_set
    order = json.dumps({"settings": settings.to_json(), "run_dir": str(run_dir), "door": door})
    app = Child("app", "bridge.cli.app_child", lambda: order, fds=() if proxy else (door,))
    fronts = [
        Child(f"front-{number}", "bridge.cli.front_child", lambda: order, fds=(door,))
        for number in range(settings.front_count if proxy else 0)
    ]
    return [*fronts, app]


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    # The folder holds the node's id: two bridges with one id would each take the other's heartbeat for its own.
    with _lock_file(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise click.ClickException(
                f"another bridge uses the data folder {folder}; give this one its own with --data-dir"
            ) from error
        yield


def _lock_file(folder: Path) -> IO[str]:
    """The lock in the data folder, which is made where it is missing. Raises click.ClickException."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(
            f"cannot use the data folder {folder}: {error.strerror}; choose another with --data-dir"
        ) from error


@contextlib.contextmanager
def _run_dir() -> Iterator[Path]:
    # Not in the data folder: a UNIX socket's path must stay under 108 bytes.
    path = Path(tempfile.mkdtemp(prefix="bridge-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    (path / "metrics").mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(path / "metrics")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _forget(pid: int) -> None:
    from bridge import metrics

    metrics.forget_process(pid)
