"""`bridge task`: follow what a bridge works on."""

from __future__ import annotations

from typing import Any

import click

from bridge.cli.bridge_client import (
    BridgeClient,
    Refused,
    Target,
    bridge_options,
    connected,
    read_id,
    show,
    tell_change,
)


@click.group()
def task() -> None:
    """Follow tasks of a running bridge."""


@task.command()
@click.argument("task_id", type=read_id)
@click.option("--timeout", type=click.FloatRange(min=0), default=3600.0, show_default=True, help="Seconds to wait.")
@bridge_options
def watch(to: Target, task_id: str, timeout: float) -> None:
    """Wait for task TASK_ID and show what becomes of it.

    The exit code is 0 when it is COMPLETED, 1 when it ends otherwise or takes too long, 3 when the bridge is not there.
    """

    async def work(client: BridgeClient) -> dict[str, Any]:
        return await client.ended(task_id, seconds=timeout, tell=tell_change)

    ended = connected(to, work)
    show(to, ended, lambda: [f"{name}: {ended[name]}" for name in ("state", "model_id", "error") if ended.get(name)])
    if ended.get("state") != "COMPLETED":
        raise Refused(f"task {task_id} ended {ended.get('state')}")
