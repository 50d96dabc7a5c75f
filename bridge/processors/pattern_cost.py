"""How long an expression may take: what repeats or chooses in it, and what can't be bounded at all. Pure.

Whoever may search may bring a pipeline along, and with it an expression. One that tries again and again would hold up
everybody.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]|[*+?]|\{\d*,?\d*\}|.", re.DOTALL)
"""Escapes and classes as wholes, everything else by the character."""


class Endless(ValueError):
    """The expression may take time that grows beyond any bound with the text."""


def repeats_and_choices(text: str) -> tuple[int, int]:
    """How many repeats and choices an expression holds. Raises Endless where a repeat holds either, and for references
    back."""
    count = choices = 0
    # For each open group: whether it holds a repeat or a choice.
    open_groups = [False]
    closed = plain = False
    for token in _TOKEN.findall(text):
        repeats = token in ("*", "+") or (token.startswith("{") and len(token) > 1)
        chooses = (token == "|" and len(open_groups) > 1) or (token == "?" and plain)
        count, choices = count + repeats, choices + chooses
        if (repeats and closed) or re.match(r"\\[1-9k]", token) is not None:
            raise Endless(text)
        closed = False
        if token == "(":
            open_groups.append(False)
        elif token == ")" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] |= closed
        elif repeats or chooses:
            open_groups[-1] = True
        # After these a question mark is no choice.
        plain = not repeats and token != "("
    return count, choices
