"""The order in which the server prints the keys of a source. Pure.

A normal form that `verbose_pipeline` shows has lost it, and errors quote the source (contract/processors.md section
12).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.pipelines.query_tree import CLAUSES
from bridge.processors.search import Json


def _keys(text: str) -> dict[str, int]:
    return {key: place for place, key in enumerate(text.split())}


_TOP = _keys(
    "from size timeout terminate_after query post_filter min_score version seq_no_primary_term explain profile _source "
    "stored_fields docvalue_fields fields script_fields sort track_scores track_total_hits search_after indices_boost "
    "aggregations highlight suggest rescore stats ext slice collapse pit search_pipeline verbose_pipeline"
)
_MATCH = _keys(
    "query operator analyzer slop fuzziness prefix_length max_expansions minimum_should_match fuzzy_rewrite "
    "fuzzy_transpositions lenient zero_terms_query auto_generate_synonyms_phrase_query boost _name"
)
_BY_FIELD = {
    **dict.fromkeys(("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix"), _MATCH),
    "term": _keys("value boost case_insensitive _name"),
    "range": _keys("from to include_lower include_upper time_zone format relation boost _name"),
    "prefix": _keys("value rewrite boost case_insensitive _name"),
    "wildcard": _keys("wildcard rewrite boost case_insensitive _name"),
    "regexp": _keys("value flags_value max_determinized_states rewrite boost case_insensitive _name"),
    "fuzzy": _keys("value fuzziness prefix_length max_expansions transpositions rewrite boost _name"),
    "knn": _keys("vector k min_score max_distance filter method_parameters rescore expand_nested_docs boost _name"),
    "neural": _keys("query_text query_image model_id k min_score max_distance filter boost _name"),
    "intervals": _keys("match all_of any_of prefix wildcard fuzzy boost _name"),
}
"""Queries whose parameters stand below the name of a field."""
_BY_NAME = {
    "bool": _keys("must filter must_not should adjust_pure_negative minimum_should_match boost _name"),
    "constant_score": _keys("filter boost _name"),
    "dis_max": _keys("tie_breaker queries boost _name"),
    "boosting": _keys("positive negative negative_boost boost _name"),
    "nested": _keys("query path ignore_unmapped score_mode inner_hits boost _name"),
    "function_score": _keys("query functions score_mode boost_mode max_boost min_score boost _name"),
    "script_score": _keys("query script min_score boost _name"),
    "has_child": _keys("query type score_mode min_children max_children ignore_unmapped boost _name"),
    "exists": _keys("field boost _name"),
    "ids": _keys("values boost _name"),
    "terms": _keys("boost _name"),
    "multi_match": _keys(
        "query fields type operator analyzer slop fuzziness prefix_length max_expansions minimum_should_match "
        "tie_breaker lenient zero_terms_query auto_generate_synonyms_phrase_query fuzzy_transpositions boost _name"
    ),
    "query_string": _keys(
        "query default_field fields type tie_breaker default_operator analyzer quote_analyzer max_determinized_states "
        "allow_leading_wildcard enable_position_increments fuzziness fuzzy_prefix_length fuzzy_max_expansions "
        "phrase_slop analyze_wildcard rewrite minimum_should_match quote_field_suffix lenient time_zone escape "
        "auto_generate_synonyms_phrase_query fuzzy_transpositions boost _name"
    ),
    "simple_query_string": _keys(
        "query fields analyzer flags default_operator lenient analyze_wildcard quote_field_suffix minimum_should_match "
        "auto_generate_synonyms_phrase_query fuzzy_prefix_length fuzzy_max_expansions fuzzy_transpositions boost _name"
    ),
    "geo_distance": _keys("distance distance_type validation_method ignore_unmapped boost _name"),
    "geo_bounding_box": _keys("validation_method type ignore_unmapped boost _name"),
    "script": _keys("script boost _name"),
    "rank_feature": _keys("field log saturation sigmoid linear boost _name"),
}
_SOURCE_FILTER = _keys("includes excludes")
_SORT = _keys("order missing mode numeric_type unmapped_type nested")


def in_order(source: Mapping[str, Any]) -> Json:
    """A normalised source with its keys as the server prints them; keys that it does not know stay first."""
    found = _arranged(source, _TOP)
    for key in ("query", "post_filter"):
        if key in found:
            found[key] = _query(found[key])
    if isinstance(found.get("_source"), Mapping):
        found["_source"] = _arranged(found["_source"], _SOURCE_FILTER)
    if isinstance(found.get("sort"), list):
        found["sort"] = [_each(item, _SORT) for item in found["sort"]]
    return found


def _query(node: Any) -> Any:
    if isinstance(node, list):
        return [_query(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {name: _clause(name, value) for name, value in node.items()}


def _clause(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if name in _BY_FIELD:
        return _each(value, _BY_FIELD[name])
    found = _arranged(value, _BY_NAME.get(name, {}))
    below: Sequence[str] = CLAUSES.get(name, ())
    return {key: _query(inner) if key in below else inner for key, inner in found.items()}


def _each(value: Any, order: Mapping[str, int]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _arranged(inner, order) if isinstance(inner, Mapping) else inner for key, inner in value.items()}


def _arranged(value: Mapping[str, Any], order: Mapping[str, int]) -> Json:
    return dict(sorted(value.items(), key=lambda pair: order.get(pair[0], -1)))
