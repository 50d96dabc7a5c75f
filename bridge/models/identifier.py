"""Document ids that a second attempt can derive again."""

from __future__ import annotations

import base64
import hashlib
import secrets

_BYTES = 15


def derived_id(*parts: str) -> str:
    """20 URL-safe characters that follow from `parts` alone; never starting with `_` or `-`."""
    digest = hashlib.sha256("\x00".join(parts).encode()).digest()
    return _readable(digest[:_BYTES])


def random_id() -> str:
    """20 URL-safe characters that nobody can guess."""
    return _readable(secrets.token_bytes(_BYTES))


def _readable(raw: bytes) -> str:
    text = base64.urlsafe_b64encode(raw).decode()
    # Route patterns and command lines read a leading `_` or `-` as something else.
    return f"m{text[1:]}" if text[0] in "_-" else text
