"""Joins the one-to-one calls of a search on a local model: texts that may share a call do, and get their results back.

ML Commons asks once for each hit. A local model gives one result for each text, so what is joined can be parted again;
a remote one is asked as often as its owner's pipeline says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bridge.domain.tensor import MLInput, MLOutput, TextDocsInput, TextSimilarityInput

TEXTS_A_CALL = 64
"""More texts in one call would only wait for each other: other searches' texts join the same batches."""


@dataclass(frozen=True, kw_only=True)
class SharedCall:
    """An input made of those at `places`; `counts` tells how many texts each of them brought."""

    input: MLInput
    places: tuple[int, ...]
    counts: tuple[int, ...]

    def part(self, output: MLOutput) -> list[MLOutput] | None:
        """The output of each place, or None when the results can't be told apart."""
        results = output.inference_results
        if len(self.places) == 1:
            return [output]
        if len(results) != sum(self.counts):
            return None
        parts, start = [], 0
        for count in self.counts:
            parts.append(MLOutput(inference_results=results[start : start + count]))
            start += count
        return parts


def alone(inputs: Sequence[MLInput]) -> list[SharedCall]:
    """One call for each input."""
    return [SharedCall(input=one, places=(at,), counts=(0,)) for at, one in enumerate(inputs)]


def joined(inputs: Sequence[MLInput]) -> list[SharedCall]:
    """As few calls as possible, none with more than TEXTS_A_CALL texts unless one input alone has more."""
    calls: list[list[int]] = []
    latest: dict[MLInput, list[int]] = {}
    held: dict[MLInput, int] = {}
    for at, one in enumerate(inputs):
        if not isinstance(one, TextDocsInput | TextSimilarityInput):
            calls.append([at])
            continue
        like, count = replace(one, text_docs=()), len(one.text_docs)
        if like not in latest or held[like] + count > TEXTS_A_CALL:
            latest[like], held[like] = [], 0
            calls.append(latest[like])
        latest[like].append(at)
        held[like] += count
    return [_shared(inputs, members) for members in calls]


def text_docs(one: MLInput) -> tuple[str, ...]:
    """The texts of an input that has several."""
    return one.text_docs if isinstance(one, TextDocsInput | TextSimilarityInput) else ()


def _shared(inputs: Sequence[MLInput], members: Sequence[int]) -> SharedCall:
    first = inputs[members[0]]
    texts = tuple(text for at in members for text in text_docs(inputs[at]))
    whole = replace(first, text_docs=texts) if isinstance(first, TextDocsInput | TextSimilarityInput) else first
    counts = tuple(len(text_docs(inputs[at])) for at in members)
    return SharedCall(input=whole, places=tuple(members), counts=counts)
