"""Fixtures for all tests; see the modules named here. A laptop without a server skips what needs one, CI fails it."""

from __future__ import annotations

import signal

pytest_plugins = ("server_fixtures", "bridge_fixtures", "model_fixtures", "fake_service")


def pytest_configure() -> None:
    """A terminated run (a CI time limit) ends like an interrupted one: fixtures stop what they started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
