"""What can go wrong with a model, as codes that survive the way from the inference process to the application."""

from __future__ import annotations

import re
from enum import StrEnum

from bridge.errors import EngineError


class FaultCode(StrEnum):
    """Why a load or a predict did not give a result."""

    LOAD_FAILED = "load_failed"
    NOT_LOADED = "not_loaded"
    UNSUPPORTED = "unsupported"
    QUEUE_FULL = "queue_full"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    RUN_FAILED = "run_failed"
    BAD_FRAME = "bad_frame"
    BAD_INPUT = "bad_input"


_FOLDERS = re.compile(r"(?:[A-Za-z]:)?/[^\s:\"']+/")


def without_folders(text: str) -> str:
    """A library's message without folders of this machine."""
    return _FOLDERS.sub("", text).strip()


class EngineFault(EngineError):
    """A failed load or run; `code` says which kind, `reason` is fit for a client (no traceback, no local path)."""

    def __init__(self, code: FaultCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
