"""Which part of a search pipeline the bridge runs and which the cluster, with the search itself. Pure.

Joining the parts gives both chains back, order kept (contract/processors.md section 13).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from bridge.errors import InvalidRequest
from bridge.pipelines.split import Processor

OVERSAMPLE = "oversample"
TRUNCATE = "truncate_hits"


@dataclass(frozen=True)
class SearchSplit:
    """`rewriting` runs before the search: ours in the bridge, the cluster's own by a search that touches no shard.
    `request` and `response` go along with the search; `results` runs in the bridge on the answer."""

    rewriting: tuple[Processor, ...] = ()
    request: tuple[Processor, ...] = ()
    response: tuple[Processor, ...] = ()
    results: tuple[Processor, ...] = ()

    def joined(self) -> tuple[tuple[Processor, ...], tuple[Processor, ...]]:
        """The request chain and the response chain."""
        return self.rewriting + self.request, self.response + self.results


def split_search(
    request: Sequence[Processor],
    response: Sequence[Processor],
    *,
    ours_request: Container[str],
    ours_response: Container[str],
    reproduced: Container[str],
) -> SearchSplit:
    """Split the two chains; `reproduced` are the cluster's own response processors that the bridge can run as well.

    Raises InvalidRequest for a response processor that stands behind one of ours and that nobody could run there.
    """
    first = next((place for place, (kind, _) in enumerate(response) if kind in ours_response), len(response))
    results = response[first:]
    for kind, _ in results:
        if kind not in ours_response and kind not in reproduced:
            raise InvalidRequest(
                f"response processor [{kind}] stands behind processor [{response[first][0]}], which runs in this "
                "bridge after the search: the cluster can't run it there, and the bridge does not know it"
            )
    cut = max((place + 1 for place, (kind, _) in enumerate(request) if kind in ours_request), default=0)
    if any(needs_original_size(processor) for processor in results):
        # What `oversample` notes for `truncate_hits` does not come back from the cluster: it has to be seen here.
        cut = max([cut, *(place + 1 for place, (kind, _) in enumerate(request) if kind == OVERSAMPLE)])
    return SearchSplit(tuple(request[:cut]), tuple(request[cut:]), tuple(response[:first]), tuple(results))


def needs_original_size(processor: Processor) -> bool:
    """Whether a processor cuts the hits to the size that was asked for before an `oversample`."""
    kind, config = processor
    return kind == TRUNCATE and not (isinstance(config, dict) and config.get("target_size") is not None)


def with_size(processor: Processor, sizes: dict[str, object]) -> Processor:
    """The processor with an explicit size where `sizes`, the pipeline context, holds the one that it looks for."""
    kind, config = processor
    if not needs_original_size(processor) or not isinstance(config, dict):
        return processor
    found = sizes.get(size_key(config))
    return processor if found is None else (kind, {**config, "target_size": found})


def size_key(config: dict[str, object]) -> str:
    """The name under which `oversample` and `truncate_hits` of this configuration share the size."""
    prefix = config.get("context_prefix")
    return f"{prefix}.original_size" if prefix else "original_size"
