"""SPARSE_ENCODING and SPARSE_TOKENIZE: a text becomes tokens with weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bridge.domain.names import ModelFormat
from bridge.domain.tensor import LocalInput
from bridge.engines.devices import Device
from bridge.engines.embedding import WARM_UP, docs_of
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.formats import open_session, warmed
from bridge.engines.pooling import Floats, Mask
from bridge.engines.session import Encoded, Inputs, ModelSpec, Output, Said, Session, Text
from bridge.engines.targets import Targets
from bridge.engines.tokenizer import TextTokenizer

IDF_FILE = "idf.json"


@dataclass(frozen=True)
class Weights:
    """The tokens of one text that weigh something; `name` is the output's."""

    name: str | None
    ids: NDArray[Any]
    values: Floats

    def said(self, words: Sequence[str] | None) -> Said:
        """As ML Commons answers it: by word (tokens that decode to nothing are left out), or by id without `words`."""
        # The shortest digits that give the same float32 back, as everywhere in answers.
        values = orjson.loads(orjson.dumps(self.values, option=orjson.OPT_SERIALIZE_NUMPY))
        pairs = zip(self.ids.tolist(), values, strict=True)
        if words is None:
            found = {str(number): value for number, value in pairs}
        else:
            count = len(words)
            found = {words[number]: value for number, value in pairs if number < count and words[number]}
        return Said(name=self.name, data_as_map={"response": [found]})


@dataclass(frozen=True)
class SparseModel:
    """A SPLADE-like encoder: the graph gives a weight for each token of the vocabulary, or logits for each place."""

    spec: ModelSpec
    device: Device
    tokenizer: TextTokenizer
    session: Session
    words: Sequence[str]
    dimension: int = 0

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """What to tokenise. Raises EngineFault(BAD_INPUT)."""
        return docs_of(input).text_docs

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> list[Encoded]:
        """Token ids of each text; sparse models have no prefixes."""
        return self.tokenizer.encode(texts)

    def run(self, texts: Sequence[Encoded], *, lone: bool = False) -> list[list[Weights]]:
        """For each text what each output of the model weighs. Raises EngineFault(RUN_FAILED)."""
        inputs = Inputs.padded(texts, self.tokenizer.pad_id)
        found: list[list[Weights]] = [[] for _ in texts]
        # As measured on the reference: outputs of ONNX graphs lose their names.
        named = self.spec.model_format is not ModelFormat.ONNX
        for output in self.session.run(inputs, lone=lone):
            for place, row in enumerate(_weighed(output, inputs)):
                ids = np.flatnonzero(row)
                found[place].append(Weights(output.name if named else None, ids, row[ids]))
        return found

    def answer(self, input: LocalInput, rows: Sequence[list[Weights]]) -> list[list[Output | Said | None]]:
        """One entry per text and output, filtered by name and position."""
        asked = docs_of(input)
        words, targets = (None if asked.token_ids else self.words), Targets.of(asked)
        return [targets.apply([weights.said(words) for weights in row]) for row in rows]

    def close(self) -> None:
        """Free the model; no run may be in progress."""
        self.session.close()


def _weighed(output: Output, inputs: Inputs) -> Floats:
    """[texts, vocabulary]; raises EngineFault for an output that is no weights and no logits."""
    array = np.asarray(output.array, dtype=np.float32)
    count = inputs.input_ids.shape[0]
    if array.ndim == 3 and array.shape[:2] == inputs.input_ids.shape:
        return splade(array, inputs.attention_mask)
    if array.ndim in (2, 3) and array.shape[0] == count and array.size == count * array.shape[-1]:
        return array.reshape(count, -1)
    raise EngineFault(
        FaultCode.RUN_FAILED,
        f"output [{output.name}] has shape {list(array.shape)}; expected [texts, vocabulary] or logits of each token",
    )


def splade(logits: Floats, mask: Mask) -> Floats:
    """Largest log(1 + relu(logit)) over a text's own tokens: [texts, tokens, vocabulary] to [texts, vocabulary]."""
    # log1p grows with its argument, so it is taken after the maximum, of a fraction of the numbers.
    top = np.zeros((logits.shape[0], logits.shape[2]), dtype=np.float32)
    for row, count in enumerate(mask.sum(1)):
        logits[row, :count].max(0, out=top[row], initial=np.float32(0))
    weights: Floats = np.log1p(top)
    return weights


def load(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool) -> SparseModel:
    """Load and encode one sentence. Raises EngineFault, OSError, ValueError."""
    tokenizer = TextTokenizer(folder)
    session = open_session(folder, device=device, spec=spec, allow_torchscript=allow_torchscript)
    return warmed(SparseModel(spec, device, tokenizer, session, tokenizer.words()), WARM_UP)


@dataclass(frozen=True)
class TokenizeModel:
    """Weighs the text's own tokens by a table; a token that the table lacks weighs 1."""

    spec: ModelSpec
    device: Device
    tokenizer: TextTokenizer
    words: Sequence[str]
    table: NDArray[np.float32]
    dimension: int = 0

    def texts(self, input: LocalInput) -> Sequence[Text]:
        """What to tokenise. Raises EngineFault(BAD_INPUT)."""
        return docs_of(input).text_docs

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> list[Encoded]:
        """Token ids of each text."""
        return self.tokenizer.encode(texts)

    def run(self, texts: Sequence[Encoded], *, lone: bool = False) -> list[Weights]:
        """The distinct tokens of each text, in order, with their weights."""
        distinct = [np.array(list(dict.fromkeys(text.ids)), dtype=np.int64) for text in texts]
        return [Weights(None, ids, self.table[ids]) for ids in distinct]

    def answer(self, input: LocalInput, rows: Sequence[Weights]) -> list[list[Said]]:
        """One entry per text; tokens that decode to nothing are left out by id too; no filter, as in ML Commons."""
        if not docs_of(input).token_ids:
            return [[row.said(self.words)] for row in rows]
        kept = [np.array([bool(self.words[number]) for number in row.ids], dtype=bool) for row in rows]
        return [
            [Weights(None, row.ids[keep], row.values[keep]).said(None)] for row, keep in zip(rows, kept, strict=True)
        ]

    def close(self) -> None:
        """There is nothing to free."""


def load_tokenizer(folder: Path, *, device: Device, spec: ModelSpec, allow_torchscript: bool) -> TokenizeModel:
    """Read tokenizer.json and, where there is one, idf.json. Raises OSError and ValueError."""
    tokenizer = TextTokenizer(folder)
    words = tokenizer.words()
    idf = _idf(folder / IDF_FILE)
    table = np.array([idf.get(word, 1.0) for word in words], dtype=np.float32)
    return TokenizeModel(spec, device, tokenizer, words, table)


def _idf(path: Path) -> Mapping[str, float]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
        return {str(token): float(weight) for token, weight in value.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{IDF_FILE} is not an object of numbers: {error}") from None
