"""Regular expressions in filters of JSONPath, kept to those that can't run for ever.

Whoever may search may bring a pipeline along, and with it a path. An expression that tries again and again would hold
up everybody: so nothing repeated may repeat or choose within, there are few repeats and choices, and two repeats look
at short texts only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bridge.errors import InvalidRequest
from bridge.processors.pattern_cost import Endless, repeats_and_choices

LONGEST_TEXT = 8000
"""Characters that an expression with two repeats looks at; each choice halves them."""
MOST_REPEATS = 2
MOST_CHOICES = 6

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "u": re.NOFLAG, "d": re.NOFLAG}


@dataclass(frozen=True)
class Pattern:
    """A compiled expression, and how many characters it may be tried on; None: any number."""

    expression: re.Pattern[str]
    longest: int | None

    def matches(self, text: str) -> bool:
        """Whether the whole text matches. Raises InvalidRequest for one that is too long to be tried."""
        if self.longest is not None and len(text) > self.longest:
            raise _invalid(f"A text of {len(text)} characters is too long for /{self.expression.pattern}/")
        return self.expression.fullmatch(text) is not None


def pattern_of(text: str, flags: str) -> Pattern:
    """`/text/flags`. Raises InvalidRequest."""
    try:
        expression = re.compile(text.replace("\\/", "/"), sum(_FLAGS[flag.lower()] for flag in flags))
    except (re.error, KeyError, RecursionError, OverflowError) as error:
        raise _invalid(f"Pattern cannot be read: /{text}/{flags}") from error
    repeats, choices = _counts(text)
    return Pattern(expression, LONGEST_TEXT >> choices if repeats > 1 else None)


def _counts(text: str) -> tuple[int, int]:
    """How many repeats and choices there are. Raises InvalidRequest for too many, or one within another."""
    try:
        count, choices = repeats_and_choices(text)
    except Endless:
        count, choices = MOST_REPEATS + 1, 0
    if count > MOST_REPEATS or choices > MOST_CHOICES:
        raise _invalid(f"Pattern may take too long: /{text}/")
    return count, choices


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, kind="invalid_path_exception")
