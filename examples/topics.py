"""Real text that is on every machine with Python: the documentation topics behind its `help()`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics

SHORTEST = 120
LONGEST = 700
MOST_PER_TOPIC = 6
GRAMMAR = re.compile(r"::=|^\s{3,}", re.MULTILINE)


@dataclass(frozen=True)
class Passage:
    """A few sentences of one topic."""

    topic: str
    text: str


def passages() -> Iterator[Passage]:
    """The first prose passages of each topic, without grammar and code blocks."""
    for topic, text in sorted(topics.items()):
        for prose in _prose(text)[:MOST_PER_TOPIC]:
            yield Passage(topic, prose)


def _prose(text: str) -> list[str]:
    paragraphs = re.split(r"\n\s*\n", text)
    kept = [each for each in paragraphs if len(each) >= SHORTEST and not GRAMMAR.search(each)]
    return [" ".join(each.split())[:LONGEST] for each in kept]
