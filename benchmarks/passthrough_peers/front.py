"""The bridge's front alone. Usage: front.py PORT UPSTREAM_URL RUN_DIR [--no-uvloop]."""

import socket
import sys

from bridge.proxy.front.config import FrontConfig
from bridge.proxy.front.process import run
from bridge.proxy.front.table import LaneTable


def main() -> None:
    port, upstream, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    table = LaneTable(folder)
    table.publish(ingest_pipelines=[])
    sock = socket.create_server(("127.0.0.1", port), backlog=1024)
    run(FrontConfig((upstream,), f"{folder}/app.sock", folder, uvloop="--no-uvloop" not in sys.argv), [sock.detach()])


if __name__ == "__main__":
    main()
