"""QUESTION_ANSWERING: the piece of the context that answers the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bridge.domain.tensor import LocalInput, QuestionAnsweringInput
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.formats import open_session, warmed
from bridge.engines.pooling import Floats
from bridge.engines.session import Inputs, ModelSpec, Output, Said, Session, Text, wanted_output
from bridge.engines.tokenizer import TextTokenizer, Window

LONGEST_CONTEXT = 1_000_000
"""Characters. Some 700 windows of 512 tokens, about as many as a CPU runs in the time that a predict has."""
WARM_UP = ("How is the weather?", "The weather is nice, it is a beautiful day.")


@dataclass(frozen=True)
class Span:
    """The best piece of one window: `score` is the sum of two logits, `start` and `stop` are places in the context."""

    score: float
    start: int
    stop: int
    tokens: Sequence[str]


@dataclass(frozen=True)
class AnsweringModel:
    """Runs overlapping windows of the context beside the question; the best span of all windows is the answer."""

    spec: ModelSpec
    device: Device
    tokenizer: TextTokenizer
    session: Session
    dimension: int = 0

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """The one pair. Raises EngineFault(BAD_INPUT)."""
        if not isinstance(input, QuestionAnsweringInput):
            raise EngineFault(FaultCode.BAD_INPUT, "This model takes question and context.")
        if len(input.context) > LONGEST_CONTEXT:
            raise EngineFault(
                FaultCode.BAD_INPUT,
                f"The context has {len(input.context)} characters; at most {LONGEST_CONTEXT} are read for an answer.",
            )
        return [(input.question, input.context)]

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> list[Window]:
        """The windows of each pair, one after the other."""
        return [window for pair in texts for window in self.tokenizer.windows(pair[0], pair[1])]

    def run(self, texts: Sequence[Window], *, lone: bool = False) -> list[Span]:
        """The best span of each window. Raises EngineFault(RUN_FAILED)."""
        inputs = Inputs.padded(texts, self.tokenizer.pad_id)
        outputs = self.session.run(inputs, lone=lone)
        starts, ends = _logits(outputs, "start_logits", 0, inputs), _logits(outputs, "end_logits", 1, inputs)
        return [_span(window, starts[n], ends[n]) for n, window in enumerate(texts)]

    def answer(self, input: LocalInput, rows: Sequence[Span]) -> list[list[Said]]:
        """One text; of equally good spans the first."""
        best = max(rows, key=lambda span: span.score)
        context = self.texts(input)[0][1]
        return [[Said(result=self.tokenizer.spelled(context[best.start : best.stop], best.tokens))]]

    def close(self) -> None:
        """Free the model; no run may be in progress."""
        self.session.close()


def _logits(outputs: Sequence[Output], name: str, place: int, inputs: Inputs) -> Floats:
    if len(outputs) < 2:
        raise EngineFault(FaultCode.RUN_FAILED, f"the model has {len(outputs)} output; expected start and end logits")
    found = np.asarray(wanted_output(outputs, name, place).array, dtype=np.float32)
    if found.size != inputs.input_ids.size:
        raise EngineFault(FaultCode.RUN_FAILED, f"output of shape {list(found.shape)}; expected [texts, tokens]")
    return found.reshape(inputs.input_ids.shape)


def _span(window: Window, starts: Floats, ends: Floats) -> Span:
    """Start and end, in this order, with the largest sum, among the context's tokens only."""
    count = len(window.offsets)
    if not count:
        return Span(float("-inf"), 0, 0, ())
    own = slice(window.first, window.first + count)
    start, stop = best_span(starts[own], ends[own])
    score = float(starts[own][start] + ends[own][stop])
    return Span(score, window.offsets[start][0], window.offsets[stop][1], window.tokens[start : stop + 1])


def best_span(starts: Floats, ends: Floats) -> tuple[int, int]:
    """The pair i <= j with the largest starts[i] + ends[j]; arrays of the same length, at least 1."""
    highest = np.maximum.accumulate(starts)
    stop = int(np.argmax(highest + ends))
    return int(np.argmax(starts[: stop + 1])), stop


def load(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool) -> AnsweringModel:
    """Load and answer one question. Raises EngineFault, OSError, ValueError."""
    tokenizer = TextTokenizer(folder)
    session = open_session(folder, device=device, spec=spec, allow_torchscript=allow_torchscript)
    return warmed(AnsweringModel(spec, device, tokenizer, session), WARM_UP)
