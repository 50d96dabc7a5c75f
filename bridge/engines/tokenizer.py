"""Texts to token ids, by the model's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.engines.inputs import whole
from bridge.engines.session import Encoded, Text

DEFAULT_MAX_TOKENS = 512
"""Where tokenizer.json has no truncation of its own (measured on the reference; model_max_length has no influence)."""
OVERLAP = 128
"""Tokens that two windows of a long context share, so that no answer lies across a border; as in transformers."""


@dataclass(frozen=True)
class Window(Encoded):
    """A question with a piece of its context.

    The context's tokens are those from place `first` on, as many as `offsets` (start and stop of each in the context,
    in characters) and `tokens`.
    """

    first: int = 0
    offsets: Sequence[tuple[int, int]] = field(default=())
    tokens: Sequence[str] = field(default=())


class TextTokenizer:
    """Tokenises as the reference does: special tokens added, tokenizer.json's truncation, no padding."""

    def __init__(self, folder: Path) -> None:
        """Read `folder/tokenizer.json`. Raises FileNotFoundError, or ValueError when it is not one."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError("No tokenizer file")
        self._path = path
        self._tokenizer = _read(path)
        padding = self._tokenizer.padding
        self.pad_id = int(padding["pad_id"]) if padding else self._guess_pad_id()
        self._tokenizer.no_padding()
        truncation = self._tokenizer.truncation
        if truncation is None:
            self._tokenizer.enable_truncation(DEFAULT_MAX_TOKENS)
        self.max_tokens = int(truncation["max_length"]) if truncation else DEFAULT_MAX_TOKENS
        self._endless: Any = None

    def _guess_pad_id(self) -> int:
        for token in ("[PAD]", "<pad>", "<|endoftext|>"):
            found = self._tokenizer.token_to_id(token)
            if found is not None:
                return int(found)
        return 0

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """One result per text or pair, in order; the interpreter lock is free while it works."""
        encodings = self._tokenizer.encode_batch_fast([_sound(text) for text in texts])
        return [Encoded(encoding.ids, encoding.type_ids) for encoding in encodings]

    def words(self) -> list[str]:
        """What each id of the vocabulary decodes to on its own; special tokens and gaps decode to nothing."""
        count = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        return list(self._tokenizer.decode_batch([[number] for number in range(count)], skip_special_tokens=True))

    def windows(self, question: str, context: str) -> list[Window]:
        """The question beside each piece of the context; a long question is cut to leave the context half the room."""
        if self._endless is None:
            endless = _read(self._path)
            endless.no_padding()
            endless.no_truncation()
            self._endless = endless
        room = max(2, self.max_tokens - int(self._endless.num_special_tokens_to_add(is_pair=True)))
        asked = self._endless.encode(whole(question), add_special_tokens=False)
        pieces = self._endless.encode(whole(context), add_special_tokens=False)
        asked.truncate(max(1, room - min(len(pieces), room // 2)))
        room -= len(asked)
        pieces.truncate(room, stride=min(OVERLAP, room // 2))
        return [self._window(asked, piece) for piece in [pieces, *pieces.overflowing]]

    def _window(self, question: Any, piece: Any) -> Window:
        encoding = self._endless.post_process(question, piece)
        places = [n for n, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
        first = places[0] if places else 0
        own = slice(first, first + len(places))
        return Window(encoding.ids, encoding.type_ids, first, encoding.offsets[own], encoding.tokens[own])

    def spelled(self, piece: str, tokens: Sequence[str]) -> str:
        """An answer's text: the piece of the context itself, unless the tokenizer folds case or accents.

        Then it is the tokens joined, as the reference answers it; tokens that it can't be rebuilt from never show.
        """
        joined = " ".join(tokens).replace(" ##", "").strip()
        normalizer = self._tokenizer.normalizer
        folded = normalizer.normalize_str(piece) if normalizer is not None else piece
        if _dense(joined) != _dense(piece) and _dense(joined) == _dense(folded):
            return joined
        return piece


def _read(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"tokenizer.json is not a tokenizer: {error}") from None


def _sound(text: Text) -> Text:
    return whole(text) if isinstance(text, str) else (whole(text[0]), whole(text[1]))


def _dense(text: str) -> str:
    return "".join(text.split())
