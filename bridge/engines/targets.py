"""Which tensors of an answer the caller wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.domain.tensor import TextDocsInput
from bridge.engines.session import Output, Said


@dataclass(frozen=True)
class Targets:
    """Which of a text's tensors are wanted: the union of names and positions; nothing named means all."""

    names: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()

    @classmethod
    def of(cls, input: TextDocsInput) -> Targets:
        """Those of a call."""
        return cls(input.target_response, input.target_response_positions)

    def apply(self, row: Sequence[Output | Said]) -> list[Output | Said | None]:
        """The row with None in place of what is not wanted."""
        if not self.names and not self.positions:
            return list(row)
        return [
            output if output.name in self.names or place in self.positions else None for place, output in enumerate(row)
        ]
