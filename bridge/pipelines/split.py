"""Which part of a pipeline the bridge runs and which the cluster. Pure.

Joining the parts gives the chain back, order kept; nothing of the cluster's ever moves past one of ours. What cannot
be split so is refused, never reordered (contract/processors.md section 13).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bridge.errors import InvalidRequest

Processor: TypeAlias = tuple[str, Any]
"""Type and configuration."""


@dataclass(frozen=True)
class Split:
    """`before` runs in the bridge, then `cluster` in the cluster, then `after` in the bridge."""

    before: tuple[Processor, ...]
    cluster: tuple[Processor, ...]
    after: tuple[Processor, ...] = ()

    def joined(self) -> tuple[Processor, ...]:
        return self.before + self.cluster + self.after


def chain_of(elements: Sequence[Any]) -> tuple[Processor, ...]:
    """The processors of a `processors` list, in order; one element may hold several."""
    return tuple((kind, config) for element in elements for kind, config in element.items())


def elements_of(chain: Sequence[Processor]) -> list[dict[str, Any]]:
    """A `processors` list with one processor per element."""
    return [{kind: config} for kind, config in chain]


def split(chain: Sequence[Processor], ours: Container[str]) -> Split:
    """Split an ingest chain: ours first, the cluster's own after them.

    Raises InvalidRequest for a chain where one of the cluster's stands before one of ours, or holds one of ours.
    """
    cut = max((place + 1 for place, (kind, _) in enumerate(chain) if kind in ours), default=0)
    for kind, _ in chain[:cut]:
        if kind not in ours:
            late = chain[cut - 1][0]
            raise InvalidRequest(
                f"processor [{kind}] stands before processor [{late}]; this bridge runs its own processors "
                f"before those of the cluster, so [{late}] has to come first"
            )
    for kind, config in chain[cut:]:
        inner = held_in(config, ours)
        if inner is not None:
            raise InvalidRequest(f"processor [{inner}] inside of processor [{kind}] is not served by this bridge")
    return Split(tuple(chain[:cut]), tuple(chain[cut:]))


def held_in(config: Any, ours: Container[str]) -> str | None:
    """The first processor of ours inside a native one: in its `on_failure` list or as the `processor` of a foreach."""
    if not isinstance(config, Mapping):
        return None
    handlers = config.get("on_failure")
    below = [item for item in handlers if isinstance(item, Mapping)] if isinstance(handlers, list) else []
    if isinstance(config.get("processor"), Mapping):
        below.append(config["processor"])
    for element in below:
        for kind, inner in element.items():
            if kind in ours:
                return str(kind)
            deeper = held_in(inner, ours)
            if deeper is not None:
                return deeper
    return None
