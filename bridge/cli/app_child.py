"""The application process: REST, pipelines, tasks and the inference process's owner."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from bridge.cli.child import orders
from bridge.cli.serve import configure_logs
from bridge.settings import Settings


def main() -> None:
    """Run until SIGTERM."""
    order = json.loads(orders())
    settings = Settings.from_json(order["settings"])
    configure_logs(settings, "app")
    from bridge.app import run

    raise SystemExit(asyncio.run(run(settings, run_dir=Path(order["run_dir"]), door=order["door"])))


if __name__ == "__main__":
    main()
