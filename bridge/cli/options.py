"""Flags made from the settings table, shared by the commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bridge import settings as table
from bridge.settings import Settings

CONNECTION = (
    "cluster", "index_prefix", "data_dir", "user", "password", "password_file", "bearer_token", "bearer_token_file",
    "client_cert", "client_key", "ca", "verify", "aws_region", "aws_service", "log_level", "log_format",
)  # fmt: skip
"""The options that any command needs to talk to the cluster."""


def _flag(option: Any) -> Callable[[Any], Any]:
    name = option.name.replace("_", "-")
    default = table.default_of(option)
    text = option.metadata["help"]
    shown = f" [default: {default}]" if default not in ("", None) and option.name not in table.SECRETS else ""
    if isinstance(default, bool):
        return click.option(
            f"--{name}/--no-{name}", option.name, default=None, envvar=table.variable(option), help=text + shown
        )
    return click.option(
        f"--{name}",
        option.name,
        type=type(default),
        default=None,
        envvar=table.variable(option),
        metavar=option.metadata["metavar"],
        help=text + shown,
    )


def settings_options(only: tuple[str, ...] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the flags of the table (or those named) and call it with one `settings` argument."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapped(config: str | None, **given: Any) -> Any:
            names = {f.name for f in table.option_fields()}
            options = {k: v for k, v in given.items() if k in names}
            rest = {k: v for k, v in given.items() if k not in names}
            return command(settings=_read(options, config), **rest)

        decorated: Callable[..., Any] = wrapped
        for option in reversed(table.option_fields()):
            if only is None or option.name in only:
                decorated = _flag(option)(decorated)
        return click.option(
            "--config", envvar="BRIDGE_CONFIG", type=click.Path(dir_okay=False), help="TOML file with these options."
        )(decorated)

    return decorate


def _read(given: dict[str, Any], config: str | None) -> Settings:
    try:
        return table.read(given, Path(config) if config else None)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
