"""Fixtures for all tests; see the modules named here. A laptop without a server skips what needs one, CI fails it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

pytest_plugins = ("server_fixtures", "bridge_fixtures", "model_fixtures", "fake_service")


def pytest_configure() -> None:
    """A terminated run (a CI time limit) ends like an interrupted one: fixtures stop what they started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _uncached(configure: Callable[..., None]) -> Callable[..., None]:
    def configured(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    return configured


@pytest.fixture(autouse=True)
def _own_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs in this process configures its logging; for the next test it is what it was."""
    before = structlog.get_config()
    # A logger that is kept from its first use on would keep that command's level for ever.
    monkeypatch.setattr(structlog, "configure", _uncached(structlog.configure))
    yield
    monkeypatch.undo()
    structlog.configure(**before)
