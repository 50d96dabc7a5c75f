"""Splitting keeps everything and moves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.pipelines.split import chain_of, elements_of, split

OURS = frozenset(("text_embedding", "other_ours"))
kinds = st.sampled_from(["text_embedding", "other_ours", "set", "rename", "script"])
chains = st.lists(st.tuples(kinds, st.dictionaries(st.just("field"), st.integers(0, 9))), max_size=8).map(tuple)


@given(chains)
def test_the_parts_joined_are_the_chain_or_it_is_refused(chain: tuple[tuple[str, dict[str, int]], ...]) -> None:
    first_native = next((at for at, (kind, _) in enumerate(chain) if kind not in OURS), len(chain))
    ours_later = any(kind in OURS for kind, _ in chain[first_native:])
    if ours_later:
        with pytest.raises(InvalidRequest, match="has to come first"):
            split(chain, OURS)
        return
    parts = split(chain, OURS)
    assert parts.joined() == chain
    assert all(kind in OURS for kind, _ in parts.before)
    assert not any(kind in OURS for kind, _ in parts.cluster)


@given(chains)
def test_a_chain_survives_being_written_and_read(chain: tuple[tuple[str, dict[str, int]], ...]) -> None:
    assert chain_of(elements_of(chain)) == chain


def test_several_processors_in_one_element_keep_their_order() -> None:
    assert chain_of([{"a": 1, "b": 2}, {}, {"c": 3}]) == (("a", 1), ("b", 2), ("c", 3))


@pytest.mark.parametrize(
    "config",
    [
        {"on_failure": [{"text_embedding": {}}]},
        {"processor": {"text_embedding": {}}},
        {"processor": {"set": {"on_failure": [{"foreach": {"processor": {"text_embedding": {}}}}]}}},
    ],
)
def test_ours_inside_of_a_native_one_is_refused_by_name(config: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"\[text_embedding\] inside of processor \[foreach\]"):
        split([("foreach", config)], OURS)
