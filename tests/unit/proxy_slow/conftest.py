"""Fixtures of the slow lane's tests."""

from slow_lane import slow

__all__ = ["slow"]
