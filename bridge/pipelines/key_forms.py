"""How the server prints the parts of a search's source: which keys in which order, and what stands below them.

One line a form: `name: key key>form *>form`. `key>form` names the form of what stands below the key, `*` stands for all
keys that the line does not name (fields, and names that the client chose). Keys that no line knows come first. Read off
OpenSearch 3.6.0; `tests/parity/test_normal_forms.py` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TABLE = """
source: from size timeout terminate_after query>query post_filter>query min_score version seq_no_primary_term explain
    profile _source>included stored_fields docvalue_fields>field fields>field script_fields>script_fields sort>sort
    track_scores track_total_hits search_after slice indices_boost aggregations>aggs highlight>highlight suggest>suggest
    rescore>rescore stats ext collapse>collapse pit search_pipeline verbose_pipeline derived
    include_named_queries_score
included: includes excludes
field: field format
script: source id lang options params
script_fields: *>script_field
script_field: script>script ignore_failure
sort: *>sort.by
sort.by: script>script type order missing unmapped_type mode nested>sort.nested numeric_type
sort.nested: path filter>query max_children nested>sort.nested
sort._geo_distance: *>point unit distance_type order mode nested>sort.nested validation_method ignore_unmapped
point: lat lon
rescore: window_size query>rescore.query
rescore.query: rescore_query>query query_weight rescore_query_weight score_mode
collapse: field max_concurrent_group_searches inner_hits>inner_hits
inner_hits: name ignore_unmapped from size version seq_no_primary_term explain track_scores _source>included
    stored_fields docvalue_fields>field fields>field script_fields>script_fields sort>sort highlight>highlight
    collapse>collapse
highlight: pre_tags post_tags fragment_size number_of_fragments type fragmenter boundary_scanner boundary_max_scan
    boundary_chars boundary_scanner_locale highlight_query>query order require_field_match no_match_size options
    force_source phrase_limit max_analyzer_offset encoder fields>highlight.fields
highlight.fields: *>highlight.field
highlight.field: pre_tags post_tags fragment_offset fragment_size number_of_fragments type fragmenter boundary_scanner
    boundary_max_scan boundary_chars boundary_scanner_locale highlight_query>query order require_field_match
    no_match_size options force_source phrase_limit max_analyzer_offset matched_fields

suggest: text *>suggestion
suggestion: text prefix regex term>suggest.term phrase>suggest.phrase completion>suggest.completion
suggest.term: analyzer field size shard_size suggest_mode accuracy sort string_distance max_edits max_inspections
    max_term_freq prefix_length min_word_length min_doc_freq
suggest.phrase: analyzer field size shard_size real_word_error_likelihood confidence separator max_errors gram_size
    force_unigrams token_limit direct_generator>suggest.generator smoothing highlight>tag collate>collate
suggest.generator: field accuracy max_edits max_inspections max_term_freq min_doc_freq min_word_length post_filter
    pre_filter prefix_length sort string_distance suggest_mode size
tag: pre_tag post_tag
collate: query>script params prune
suggest.completion: payload analyzer field size fuzzy>suggest.fuzzy regex contexts skip_duplicates
suggest.fuzzy: fuzziness transpositions min_length prefix_length unicode_aware max_determinized_states

query: *>clause
clause: boost _name
bool: must>query filter>query must_not>query should>query adjust_pure_negative minimum_should_match boost _name
boosting: positive>query negative>query negative_boost boost _name
constant_score: filter>query boost _name
dis_max: tie_breaker queries>query boost _name
nested: query>query path ignore_unmapped score_mode boost _name inner_hits>inner_hits
has_child: query>query type score_mode min_children max_children ignore_unmapped boost _name inner_hits>inner_hits
has_parent: query>query parent_type score ignore_unmapped boost _name inner_hits>inner_hits
parent_id: type id ignore_unmapped boost _name
hybrid: queries>query pagination_depth boost _name
function_score: query>query functions>function score_mode boost_mode max_boost min_score boost _name
function: filter>query weight random_score>random_score field_value_factor>value_factor script_score>scripted
    gauss>decay linear>decay exp>decay
random_score: seed field
value_factor: field factor missing modifier
scripted: script>script
decay: *>decay.field multi_value_mode
decay.field: origin scale offset decay
script_score: query>query script>script min_score boost _name
script.query: script>script boost _name
distance_feature: field origin pivot boost _name
exists: field boost _name
ids: values boost _name
terms: *>lookup boost _name
lookup: index id path routing store
terms_set: *>terms_set.field
terms_set.field: terms minimum_should_match_field minimum_should_match_script>script boost _name
match: *>match.field
match.field: query operator analyzer slop fuzziness prefix_length max_expansions minimum_should_match fuzzy_rewrite
    fuzzy_transpositions lenient zero_terms_query cutoff_frequency auto_generate_synonyms_phrase_query boost _name
match_bool_prefix: *>match_bool_prefix.field
match_bool_prefix.field: query analyzer operator minimum_should_match fuzziness prefix_length max_expansions
    fuzzy_transpositions fuzzy_rewrite boost _name
match_phrase: *>match.field
match_phrase_prefix: *>match.field
multi_match: query fields type operator analyzer slop fuzziness prefix_length max_expansions minimum_should_match
    fuzzy_rewrite tie_breaker lenient zero_terms_query cutoff_frequency auto_generate_synonyms_phrase_query
    fuzzy_transpositions boost _name
combined_fields: query fields operator minimum_should_match boost _name
query_string: query default_field fields type tie_breaker default_operator analyzer quote_analyzer
    max_determinized_states allow_leading_wildcard enable_position_increments fuzziness fuzzy_prefix_length
    fuzzy_max_expansions fuzzy_rewrite phrase_slop analyze_wildcard rewrite minimum_should_match quote_field_suffix
    lenient time_zone escape auto_generate_synonyms_phrase_query fuzzy_transpositions boost _name
simple_query_string: query fields analyzer flags default_operator lenient analyze_wildcard quote_field_suffix
    minimum_should_match auto_generate_synonyms_phrase_query fuzzy_prefix_length fuzzy_max_expansions
    fuzzy_transpositions boost _name
more_like_this: fields like unlike max_query_terms min_term_freq min_doc_freq max_doc_freq min_word_length
    max_word_length stop_words analyzer minimum_should_match boost_terms include fail_on_unsupported_field boost _name
term: *>term.field
term.field: value case_insensitive boost _name
range: *>range.field
range.field: from to include_lower include_upper time_zone format relation boost _name
prefix: *>prefix.field
prefix.field: value rewrite case_insensitive boost _name
wildcard: *>wildcard.field
wildcard.field: wildcard rewrite case_insensitive boost _name
regexp: *>regexp.field
regexp.field: value flags_value case_insensitive max_determinized_states rewrite boost _name
fuzzy: *>fuzzy.field
fuzzy.field: value fuzziness prefix_length max_expansions transpositions rewrite boost _name
rank_feature: field log saturation sigmoid>sigmoid linear boost _name
sigmoid: pivot exponent
geo_distance: distance distance_type validation_method ignore_unmapped boost _name
geo_bounding_box: *>box validation_method type ignore_unmapped boost _name
box: top_left bottom_right
geo_polygon: *>polygon validation_method ignore_unmapped boost _name
geo_shape: *>shape ignore_unmapped boost _name
shape: shape>geometry relation
geometry: type orientation coordinates
percolate: document_type field name documents boost _name
knn: *>knn.field
knn.field: vector k min_score max_distance filter>query method_parameters rescore boost _name expand_nested_docs
neural: *>neural.field
neural.field: query_text query_image model_id k min_score max_distance filter>query method_parameters rescore boost
    _name expand_nested_docs
span_term: *>term.field
span_near: clauses>query slop in_order boost _name
span_first: match>query end boost _name
span_or: clauses>query boost _name
span_not: include>query exclude>query pre post boost _name
span_multi: match>query boost _name
span_within: big>query little>query boost _name
span_containing: big>query little>query boost _name
span_field_masking: query>query field boost _name
intervals: *>interval
interval: match>interval.match all_of>interval.all any_of>interval.any prefix>interval.prefix
    wildcard>interval.wildcard fuzzy>interval.fuzzy regexp>interval.wildcard boost _name
interval.match: query max_gaps mode analyzer filter>interval.filter use_field
interval.all: mode max_gaps intervals>interval filter>interval.filter
interval.any: intervals>interval filter>interval.filter
interval.prefix: prefix analyzer use_field
interval.wildcard: pattern flags_value analyzer use_field max_expansions
interval.fuzzy: term prefix_length transpositions fuzziness analyzer use_field
interval.filter: script>script *>interval

aggs: *>agg
agg: meta terms>agg.terms filter>query filters>agg.filters adjacency_matrix>agg.adjacency significant_terms>agg.terms
    significant_text>agg.terms multi_terms>agg.multi composite>agg.composite range>agg.ranges date_range>agg.ranges
    ip_range>agg.ranges geo_distance>agg.ranges weighted_avg>agg.weighted top_hits>inner_hits
    scripted_metric>agg.scripted bucket_sort>agg.sorted *>agg.values aggregations>aggs
agg.values: buckets_path field value_type script>script missing format time_zone interval calendar_interval
    fixed_interval offset order percents values keyed min_doc_count extended_bounds>bounds hard_bounds>bounds gap_policy
    unit tdigest hdr sigma precision_threshold wrap_longitude compression buckets minimum_interval max_doc_count
    precision size shard_size max_docs_per_value execution_hint fields mode path
bounds: min max
agg.terms: field value_type script>script missing format size shard_size min_doc_count shard_min_doc_count
    show_term_doc_count_error execution_hint order collect_mode include exclude background_filter>query *
agg.filters: filters>query.named other_bucket other_bucket_key
query.named: *>query
agg.adjacency: separator show_only_intersecting filters>query.named
agg.multi: terms>agg.values size shard_size min_doc_count shard_min_doc_count show_term_doc_count_error order
agg.composite: size sources>agg.sources after
agg.sources: *>agg.source
agg.source: *>agg.source.by
agg.source.by: field script>script missing_bucket missing_order format time_zone order interval calendar_interval
    fixed_interval offset precision
agg.ranges: field script>script missing format time_zone origin>point ranges>bucket keyed unit distance_type
bucket: key from to mask
agg.weighted: weight>agg.value value>agg.value format value_type
agg.value: missing script>script field
agg.scripted: init_script>script map_script>script combine_script>script reduce_script>script params
agg.sorted: sort>sort from size gap_policy
"""

OTHER = "*"


@dataclass(frozen=True)
class Form:
    """Places of keys, and the names of the forms below them; `below[OTHER]` for keys without one of their own."""

    places: Mapping[str, int]
    below: Mapping[str, str]


def _read(table: str) -> dict[str, Form]:
    forms: dict[str, Form] = {}
    for line in table.replace("\n    ", " ").splitlines():
        name, _, keys = line.partition(": ")
        if keys:
            pairs = [key.partition(">") for key in keys.split()]
            forms[name] = Form(
                {key: place for place, (key, _, _) in enumerate(pairs)},
                {key: form for key, _, form in pairs if form},
            )
    return forms


FORMS = _read(_TABLE)
