"""Flat and nested settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidRequest
from bridge.proxy.slow.settings_tree import flat, hash_order, structured

NAMES = st.sampled_from(["a", "b", "cluster", "routing", "ml_commons", "x1"])
KEYS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


def test_every_notation_means_the_same() -> None:
    nested = {"plugins": {"ml_commons": {"a": 1, "b.c": [True, 1.5, "x"]}}, "plugins.ml_commons.d": None}
    assert flat(nested) == {
        "plugins.ml_commons.a": "1",
        "plugins.ml_commons.b.c": ("true", "1.5", "x"),
        "plugins.ml_commons.d": None,
    }
    assert flat({"k.0": "z", "k.1": "y"}) == {"k": ("z", "y")}
    assert flat({"a.b": 1, "a": {"b": 2}}) == {"a.b": "2"}


def test_lists_hold_scalars_only() -> None:
    with pytest.raises(InvalidRequest, match="Failed to load settings from") as refused:
        flat({"k": ["a", None]})
    assert refused.value.details["caused_by"]["reason"] == "only value lists are allowed in serialized settings"


@given(st.dictionaries(KEYS, st.text(max_size=3), max_size=12))
def test_structure_and_back(settings: dict[str, str]) -> None:
    def leaves(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in tree.items():
            if isinstance(value, dict):
                found.update(leaves(value, f"{prefix}{name}."))
            else:
                found[prefix + name] = value
        return found

    assert leaves(structured(settings)) == settings


def test_a_value_beside_a_deeper_one_keeps_its_whole_name() -> None:
    assert structured({"a": "1", "a.b": "2"}) == {"a": "1", "a.b": "2"}


def test_keys_come_as_the_cluster_prints_them() -> None:
    keys = [
        "exclude_nodes",
        "remote_job",
        "task_dispatch_policy",
        "trusted_connector_endpoints_regex",
        "trusted_url_regex",
    ]
    # As OpenSearch 3.6 answered for these five.
    assert hash_order(keys) == [keys[0], keys[2], keys[3], keys[1], keys[4]]
