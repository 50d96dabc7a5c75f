"""Controllers: rate limits of a model for single users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Controller:
    """Its document's id is the model's; `user_rate_limiter` is `{user: {"limit": number, "unit": time unit}}`."""

    model_id: str
    user_rate_limiter: dict[str, Any] | None = None
