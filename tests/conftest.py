"""Fixtures for all tests; see the modules named here. A laptop without a server skips what needs one, CI fails it."""

from __future__ import annotations

pytest_plugins = ("server_fixtures", "bridge_fixtures", "model_fixtures")
