"""Splitting search pipelines: order kept, nothing lost, nothing of the cluster's past one of ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.pipelines.search_split import SearchSplit, split_search, with_size

OURS_REQUEST, OURS_RESPONSE = ("ml",), ("ml", "rerank")
REPRODUCED = ("sort", "truncate_hits")
NATIVE_REQUEST = ("filter_query", "script", "oversample")
NATIVE_RESPONSE = (*REPRODUCED, "personalize")


def split(request: Any, response: Any) -> SearchSplit:
    return split_search(
        request, response, ours_request=OURS_REQUEST, ours_response=OURS_RESPONSE, reproduced=REPRODUCED
    )


def chains(kinds: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    configs = st.sampled_from([{}, {"target_size": 3}, {"context_prefix": "x"}])
    return st.lists(st.tuples(st.sampled_from(kinds), configs), max_size=6)


@given(request=chains((*OURS_REQUEST, *NATIVE_REQUEST)), response=chains((*OURS_RESPONSE, *NATIVE_RESPONSE)))
def test_the_parts_give_the_chains_back(request: list[Any], response: list[Any]) -> None:
    try:
        found = split(request, response)
    except InvalidRequest as error:
        first = next(place for place, (kind, _) in enumerate(response) if kind in OURS_RESPONSE)
        assert any(kind == "personalize" for kind, _ in response[first:])
        assert "[personalize]" in error.reason
        return
    assert found.joined() == (tuple(request), tuple(response))
    assert not any(kind in OURS_REQUEST for kind, _ in found.request)
    assert not any(kind in OURS_RESPONSE for kind, _ in found.response)
    assert not found.results or found.results[0][0] in OURS_RESPONSE
    needy = any(kind == "truncate_hits" and "target_size" not in config for kind, config in found.results)
    last = found.rewriting[-1][0] if found.rewriting else "ml"
    assert last in OURS_REQUEST or (needy and last == "oversample")
    assert not needy or not any(kind == "oversample" for kind, _ in found.request)


def test_what_stands_behind_ours_and_nobody_can_run_there_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"\[hybrid_score_explanation\] stands behind processor \[rerank\]"):
        split([], [("sort", {}), ("rerank", {}), ("hybrid_score_explanation", {})])


def test_sizes_are_written_into_processors_that_look_for_them() -> None:
    sizes = {"original_size": 3, "x.original_size": 5}
    assert with_size(("truncate_hits", {"tag": "t"}), sizes) == ("truncate_hits", {"tag": "t", "target_size": 3})
    mine = {"context_prefix": "x"}
    assert with_size(("truncate_hits", mine), sizes) == ("truncate_hits", {**mine, "target_size": 5})
    for same in (("truncate_hits", {"target_size": 1}), ("sort", {}), ("truncate_hits", {"context_prefix": "y"})):
        assert with_size(same, sizes) is same
