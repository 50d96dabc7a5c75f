"""A real OpenSearch on this machine, without containers.

    python testcontainers/local_cluster.py exec -- COMMAND...     run COMMAND with OPENSEARCH_URL set, then end the node
    python testcontainers/local_cluster.py start --dir DIR        start one that stays; its data and log are in DIR
    python testcontainers/local_cluster.py stop --dir DIR         end it
    python testcontainers/local_cluster.py prepare                download and unpack only
    python testcontainers/local_cluster.py context --dir DIR      lay out the build context of opensearch.Dockerfile

Needs Maven (for the download) and a JDK: 21 or newer for OpenSearch 3.x, 17 to 21 for 2.19.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cluster_variants import VARIANTS
from container_cluster import make_context
from local_node import LocalNode
from maven_artifacts import Unavailable
from node_traces import read_pid
from opensearch_home import prepare


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "stop", "exec", "prepare", "context"):
        command = commands.add_parser(name)
        if name != "stop":
            command.add_argument("--variant", choices=sorted(VARIANTS), default="knn")
        if name in ("start", "stop", "context"):
            command.add_argument("--dir", type=Path, required=True)
        if name in ("start", "exec"):
            command.add_argument("--port", type=int, default=0)
            command.add_argument("--heap", help="JVM heap, such as 512m")
            command.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")
        if name == "exec":
            command.add_argument("program", nargs="+")
    return parser


def _node(options: argparse.Namespace, folder: Path | None, *, detached: bool) -> LocalNode:
    settings = dict(pair.split("=", 1) for pair in options.setting)
    return LocalNode(
        options.variant, folder=folder, port=options.port, heap=options.heap, settings=settings, detached=detached
    )


def start(options: argparse.Namespace) -> int:
    """Start a node that stays. Prints its URL, and the user and password file where there is a password."""
    folder = options.dir.resolve()
    shutil.rmtree(folder / "config", ignore_errors=True)
    node = _node(options, folder, detached=True).start()
    if node.password:
        (folder / "password").write_text(node.password)
    print(node.url)
    return 0


def stop(options: argparse.Namespace) -> int:
    """End the node that `start` left in that folder, and wait until it is gone."""
    pid = read_pid(options.dir / "pid")
    deadline = time.monotonic() + 30
    while pid and _owns(pid, options.dir.resolve()):
        os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.25)
    return 0


def _owns(pid: int, folder: Path) -> bool:
    command_line = Path(f"/proc/{pid}/cmdline")
    try:
        return str(folder).encode() in command_line.read_bytes()
    except OSError:
        return False


def run(options: argparse.Namespace) -> int:
    """Run a program beside a node that ends with it."""
    with _node(options, None, detached=False) as node:
        environment = {**os.environ, "OPENSEARCH_URL": node.url}
        if node.password:
            environment |= {"OPENSEARCH_USER": node.user, "OPENSEARCH_PASSWORD": node.password}
        return subprocess.run(options.program, env=environment, check=False).returncode


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # Ended by a signal, `exec` must still end its node: SystemExit runs the with-blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.command == "start":
            return start(options)
        if options.command == "stop":
            return stop(options)
        if options.command == "exec":
            return run(options)
        if options.command == "context":
            make_context(options.dir, options.variant)
            return 0
        prepare(VARIANTS[options.variant])
        return 0
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
