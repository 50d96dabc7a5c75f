"""What is sent to have a source normalised, and what is made of the answer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.pipelines.normal import Question, composed
from bridge.pipelines.template_query import filled

NEURAL = {"neural": {"v": {"query_text": "a", "model_id": "m"}}}
TEMPLATE = {"template": {"term": {"a": "${b}"}}}
SOURCE = {
    "query": {"bool": {"must": [NEURAL, TEMPLATE]}},
    "pit": {"id": "p"},
    "slice": {"id": 0, "max": 2},
    "ext": {"rerank": {"a": 1}, "other": {}},
    "search_pipeline": "x",
    "size": 1,
}


def shown(source: Any, **more: Any) -> dict[str, Any]:
    return {"processor_results": [{"input_data": source, "output_data": {**source, **more}, "status": "success"}]}


def test_what_no_cluster_takes_is_held_back_and_comes_again() -> None:
    question = Question(SOURCE)
    body = question.body()
    assert set(body) == {"query", "ext", "size", "search_pipeline", "verbose_pipeline"}
    assert body["ext"] == {"other": {}}
    assert "neural" not in str(body["query"])
    assert "template" not in str(body["query"])
    normal = question.read(shown({key: body[key] for key in ("query", "size")}))
    assert normal is not None
    assert normal.before == normal.after
    clause = {"neural": {"v": {"query_text": "a", "model_id": "m", "boost": 1.0}}}
    expected = {**SOURCE, "query": {"bool": {"must": [clause, TEMPLATE]}}, "slice": {"field": "_id", "id": 0, "max": 2}}
    del expected["search_pipeline"]
    assert normal.before == expected


def test_the_wrapping_is_found_wherever_processors_put_it() -> None:
    question = Question({"query": {"term": {"a": "1"}}}, [("filter_query", {})])
    wrapped = question.body()["query"]
    assert wrapped["bool"]["should"] == [{"term": {"a": "1"}}]
    answer = shown({"query": wrapped}, query={"bool": {"must": [wrapped], "filter": []}})
    normal = question.read(answer)
    assert normal is not None
    assert normal.before == {"query": {"term": {"a": "1"}}}
    assert normal.after == {"query": {"bool": {"must": [{"term": {"a": "1"}}], "filter": []}}}
    assert normal.entries[0]["output_data"] == normal.after
    assert question.body(plain=True)["query"] == {"term": {"a": "1"}}
    assert "verbose_pipeline" not in question.body(plain=True)
    assert question.read({}) is None


def test_failed_natives_leave_the_last_source_that_there_is() -> None:
    question = Question({"size": 1}, [("a", {}), ("b", {})])
    entries = [
        {"input_data": {"size": 1}, "output_data": {"size": 2}, "status": "success"},
        {"input_data": {"size": 2}, "output_data": None, "status": "fail"},
    ]
    normal = question.read({"processor_results": entries})
    assert normal is not None
    assert (normal.before, normal.after) == ({"size": 1}, {"size": 2})


VALUES = st.dictionaries(st.sampled_from(["query", "size", "aggs", "sort", "ext"]), st.integers(0, 3), max_size=5)


@given(body=VALUES, changes=VALUES)
def test_only_what_changed_is_taken_over(body: dict[str, int], changes: dict[str, int]) -> None:
    same = {"aggs": "aggregations"}
    before = {same.get(key, key): value + 10 for key, value in body.items()}
    after = {**before, **{same.get(key, key): value + 20 for key, value in changes.items()}}
    found = composed(body, before, after)
    for key, value in body.items():
        if key not in changes:
            assert found[key] == value
    for key, value in changes.items():
        assert found[same.get(key, key)] == value + 20
    assert len(found) == len(after)


def test_what_processors_take_away_is_gone_but_not_a_point_in_time() -> None:
    before = {"query": 1, "size": 2, "pit": {}}
    assert composed({"query": "q", "size": 2, "pit": {"id": "x"}}, before, {"query": 1}) == {
        "query": "q", "pit": {"id": "x"},
    }  # fmt: skip
    assert composed({}, {"size": 5}, {"size": 5}) == {}
    assert composed({}, {"size": 5}, {"size": 5}, ["size"]) == {"size": 5}


def test_templates_are_filled_as_trees() -> None:
    body = {"query": {"bool": {"should": [{"template": {"knn": {"v": {"vector": "${vec}", "k": 2}}}}]}}, "a": "${vec}"}
    knn = {"knn": {"v": {"vector": [1, 2], "k": 2}}}
    whole = filled(body, {"vec": [1, 2]}, more_to_come=False)
    assert whole == {"query": {"bool": {"should": [knn]}}, "a": "${vec}"}
    quoted = filled({"query": {"template": {"term": {"a": "${b}"}}}}, {"b": '"}} or 1'}, more_to_come=False)
    assert quoted == {"query": {"term": {"a": '"}} or 1'}}}
    assert filled(body, {}, more_to_come=False) is body
    kept = filled(body, {"other": 1}, more_to_come=True)
    assert kept == body
