"""Texts to token ids, by the model's own tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bridge.engines.inputs import whole
from bridge.engines.session import Encoded

DEFAULT_MAX_TOKENS = 512
"""Where tokenizer.json has no truncation of its own (measured on the reference; model_max_length has no influence)."""


class TextTokenizer:
    """Tokenises as the reference does: special tokens added, tokenizer.json's truncation, no padding."""

    def __init__(self, folder: Path) -> None:
        """Read `folder/tokenizer.json`. Raises FileNotFoundError, or ValueError when it is not one."""
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError("No tokenizer file")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"tokenizer.json is not a tokenizer: {error}") from None
        padding = self._tokenizer.padding
        self.pad_id = int(padding["pad_id"]) if padding else self._guess_pad_id()
        self._tokenizer.no_padding()
        truncation = self._tokenizer.truncation
        if truncation is None:
            self._tokenizer.enable_truncation(DEFAULT_MAX_TOKENS)
        self.max_tokens = int(truncation["max_length"]) if truncation else DEFAULT_MAX_TOKENS

    def _guess_pad_id(self) -> int:
        for token in ("[PAD]", "<pad>", "<|endoftext|>"):
            found = self._tokenizer.token_to_id(token)
            if found is not None:
                return int(found)
        return 0

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """One result per text, in order; the interpreter lock is free while it works."""
        encodings = self._tokenizer.encode_batch_fast([whole(text) for text in texts])
        return [Encoded(encoding.ids, encoding.type_ids) for encoding in encodings]
