"""TEXT_SIMILARITY: a cross-encoder scores each text against the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bridge.domain.tensor import LocalInput, TextSimilarityInput
from bridge.engines.devices import Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.formats import open_session, warmed
from bridge.engines.session import Array, Encoded, Inputs, ModelSpec, Output, Session, Text, wanted_output
from bridge.engines.tokenizer import TextTokenizer

SIMILARITY = "similarity"
WARM_UP = ("warm up question", "warm up sentence")


@dataclass(frozen=True)
class SimilarityModel:
    """Runs query and text together; the score is the model's raw output, no sigmoid, as ML Commons answers it."""

    spec: ModelSpec
    device: Device
    tokenizer: TextTokenizer
    session: Session
    dimension: int = 0

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """The pairs. Raises EngineFault(BAD_INPUT)."""
        if not isinstance(input, TextSimilarityInput):
            raise EngineFault(FaultCode.BAD_INPUT, "This model takes query_text and text_docs.")
        return [(input.query_text, text) for text in input.text_docs]

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> list[Encoded]:
        """Both texts with the special tokens and token types of a pair; the longer one is cut first."""
        return self.tokenizer.encode(texts)

    def run(self, texts: Sequence[Encoded], *, lone: bool = False) -> list[Array]:
        """One array of scores per pair: [1] for a model with one label. Raises EngineFault(RUN_FAILED)."""
        inputs = Inputs.padded(texts, self.tokenizer.pad_id)
        scores = wanted_output(self.session.run(inputs, lone=lone), "logits").array
        if scores.shape[0] != len(texts):
            raise EngineFault(FaultCode.RUN_FAILED, f"output of shape {list(scores.shape)} for {len(texts)} pairs")
        return list(np.asarray(scores, dtype=np.float32).reshape(len(texts), -1))

    def answer(self, input: LocalInput, rows: Sequence[Array]) -> list[list[Output]]:
        """One tensor each, always with its bytes; ML Commons knows no filter here."""
        return [[Output(SIMILARITY, row, with_bytes=True)] for row in rows]

    def close(self) -> None:
        """Free the model; no run may be in progress."""
        self.session.close()


def load(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool) -> SimilarityModel:
    """Load and score one pair. Raises EngineFault, OSError, ValueError."""
    tokenizer = TextTokenizer(folder)
    session = open_session(folder, device=device, spec=spec, allow_torchscript=allow_torchscript)
    return warmed(SimilarityModel(spec, device, tokenizer, session), WARM_UP)
