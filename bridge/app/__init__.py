"""The application process: builds everything from the settings, starts it in order, and takes it down in order."""

from bridge.app.connection import cluster_config
from bridge.app.run import run

__all__ = ["cluster_config", "run"]
