"""Which live nodes may run which models: roles, `exclude_nodes._name`, and what a model's function needs."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.domain.cluster_settings import ClusterSettings
from bridge.domain.names import FunctionName
from bridge.domain.node import Node

ML_ROLE = "ml"


def runners(nodes: Mapping[str, Node], algorithm: FunctionName | None = None) -> dict[str, Node]:
    """Live nodes that can run models of this function, by id in order.

    Local models need the role `ml`, which brings an inference process. A remote model runs in any bridge; nodes with
    the role are counted where there are some.
    """
    able = {each: nodes[each] for each in sorted(nodes) if ML_ROLE in nodes[each].roles}
    if not able and algorithm is FunctionName.REMOTE:
        return {each: nodes[each] for each in sorted(nodes)}
    return able


def eligible(
    nodes: Mapping[str, Node], settings: ClusterSettings, algorithm: FunctionName | None = None
) -> dict[str, Node]:
    """Of these, those whose name the setting `exclude_nodes._name` (separated by commas) does not hold."""
    left_out = excluded(settings)
    return {each: node for each, node in runners(nodes, algorithm).items() if node.name not in left_out}


def excluded(settings: ClusterSettings) -> frozenset[str]:
    """Names of nodes that get no models."""
    return frozenset(name.strip() for name in settings.exclude_nodes__name.split(",") if name.strip())
