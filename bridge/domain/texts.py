"""Which characters names and descriptions may hold."""

from __future__ import annotations

import unicodedata

_OTHERS = frozenset(" \t\n\v\f\r.,!?():@-_'/\"")
"""ASCII white space and the punctuation that ML Commons' refusals list."""


def allowed(text: str) -> bool:
    """Whether every character of a name or description is one that ML Commons takes; "" holds none that it refuses.

    The rule is how the reference (ML Commons 3.6.0) behaves at its create and register routes: Unicode letters and
    numbers (categories L* and N*), ASCII white space, and `.,!?():@-_'/"`. Combining marks, emoji, other white space
    (U+0085, U+00A0, U+3000), control characters and lone surrogates are refused.
    """
    return all(character in _OTHERS or unicodedata.category(character)[0] in "LN" for character in text)
