"""What names and descriptions of models and groups may look like."""

from __future__ import annotations

from bridge.domain.texts import allowed
from bridge.errors import InvalidRequest

_KIND = "action_request_validation_exception"


def check_text(label: str, text: str | None, *, required: bool = False) -> None:
    """Raises InvalidRequest as ML Commons words it when `text` is blank (if required) or holds other characters."""
    problem = None
    if required and not (text and text.strip()):
        problem = f"{label} is required and cannot be null or blank"
    elif text and not allowed(text):
        problem = f"{label} can only contain letters, numbers, spaces, and basic punctuation (.,!?():@-_'/\")"
    if problem:
        raise InvalidRequest(f"Validation Failed: 1: {problem};", kind=_KIND)
