"""The command line: `bridge serve`, `init`, `doctor`, `pack`, `model`, `task`."""

from __future__ import annotations

import importlib
from typing import Any

import click

from bridge import __version__

_COMMANDS = {
    "serve": "bridge.cli.serve",
    "init": "bridge.cli.init",
    "doctor": "bridge.cli.doctor",
    "pack": "bridge.cli.pack",
    "model": "bridge.cli.model",
    "task": "bridge.cli.task",
}

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT."""


class _LazyGroup(click.Group):
    """Imports a command's module when it is asked for, so that `serve` starts without the others' libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C leaves with 130 as a shell expects."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise SystemExit(INTERRUPTED) from None


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bridge")
def cli() -> None:
    """OpenSearch ML Bridge: models beside a cluster, not inside it.

    Start with `bridge doctor --cluster URL`, then `bridge serve --cluster URL`, and send clients to the bridge's
    address instead of the cluster's.
    """
