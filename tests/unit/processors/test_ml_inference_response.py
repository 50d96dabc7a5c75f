"""The response processor where it is not the real server's (tests/parity/test_ml_inference.py has the rest)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from inference_fakes import FakePredictor, Request, answering, context, echo, found, lengths, services, sources
from structlog.testing import capture_logs

from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, MLOutput, RemoteInput, TextDocsInput, TextSimilarityInput
from bridge.errors import EngineError, InvalidRequest, TooManyRequests
from bridge.processors.ml_inference_response import MLInferenceResponse, build
from bridge.processors.model_call import CALLS_AT_ONCE
from bridge.processors.shared_calls import TEXTS_A_CALL

QUERY = {"query": {"term": {"content": {"value": "who", "boost": 1.0}}}}
CROSS_ENCODER = {
    "function_name": "TEXT_SIMILARITY",
    "model_input": '{ "text_docs": ${input_map.text_docs}, "query_text": "${input_map.query_text}" }',
    "input_map": [{"text_docs": "content", "query_text": "$.query.term.content.value"}],
    "output_map": [{"rank_score": "$.inference_results[*].output[*].data"}],
    "full_response_path": False,
    "one_to_one": True,
}
"""The first pipeline of the tutorial, as it is printed there."""


def processor(
    predictor: FakePredictor, config: Mapping[str, Any], function: FunctionName | None = None
) -> MLInferenceResponse:
    return build({"model_id": "m", **config}, services(predictor, function))


def echoing(**more: Any) -> dict[str, Any]:
    return {"input_map": [{"a": "t"}], "output_map": [{"o": "$.echo.a"}], "one_to_one": True, **more}


async def test_the_cross_encoder_of_the_tutorial_asks_a_local_model_once() -> None:
    predictor = FakePredictor(lengths)
    response = found({"content": "null"}, {"content": 'say "hi"'}, {"content": "abc"})
    before = copy.deepcopy(response)
    changed = await processor(predictor, CROSS_ENCODER, FunctionName.TEXT_SIMILARITY).process(response, context(QUERY))
    assert [source["rank_score"] for source in sources(changed)] == [[4.0], [8.0], [3.0]]
    assert predictor.calls == [TextSimilarityInput(query_text="who", text_docs=("null", 'say "hi"', "abc"))]
    assert response == before
    assert {key: value for key, value in changed.items() if key != "hits"} == {
        key: value for key, value in before.items() if key != "hits"
    }


async def test_a_remote_model_is_asked_for_each_hit_and_hits_keep_their_order() -> None:
    predictor = FakePredictor(delays=lambda at: 0.03 - at * 0.01)
    response = found({"t": "a"}, {"t": "b"}, {"t": "c"})
    changed = await processor(predictor, echoing(), FunctionName.REMOTE).process(response, context())
    assert [source["o"] for source in sources(changed)] == ["a", "b", "c"]
    assert len(predictor.calls) == predictor.most == 3


async def test_calls_at_once_are_bounded() -> None:
    predictor = FakePredictor()
    texts = [{"t": str(at)} for at in range(3 * CALLS_AT_ONCE)]
    changed = await processor(predictor, echoing()).process(found(*texts), context())
    assert [source["o"] for source in sources(changed)] == [text["t"] for text in texts]
    assert predictor.most == CALLS_AT_ONCE


async def test_local_calls_are_joined_up_to_a_size_and_by_query() -> None:
    predictor = FakePredictor(lengths)
    config = {
        **CROSS_ENCODER,
        "input_map": [{"text_docs": "t", "query_text": "q"}],
        "output_map": [{"s": "$.inference_results[*].output[*].data"}],
        "full_response_path": True,
    }
    hits = [{"t": ["x" * at, "y"], "q": str(at % 2)} for at in range(TEXTS_A_CALL + 2)]
    response = found(*hits)
    changed = await processor(predictor, config, FunctionName.TEXT_SIMILARITY).process(response, context())
    assert [source["s"] for source in sources(changed)] == [[[float(at)], [1.0]] for at in range(len(hits))]
    sizes = sorted(len(call.text_docs) for call in predictor.calls if isinstance(call, TextSimilarityInput))
    assert sizes == [2, 2, TEXTS_A_CALL, TEXTS_A_CALL]


async def test_results_that_can_not_be_told_apart_are_asked_for_one_by_one() -> None:
    def answer(asked: MLInput) -> MLOutput:
        assert isinstance(asked, TextDocsInput)
        return answering({"n": len(asked.text_docs), "t": asked.text_docs[0]})

    predictor = FakePredictor(answer)
    config = {
        "function_name": "text_embedding",
        "model_input": '{"text_docs": ["${input_map.t}"]}',
        "input_map": [{"t": "t"}],
        "output_map": [{"o": "t"}],
        "full_response_path": False,
        "one_to_one": True,
    }
    changed = await processor(predictor, config, FunctionName.TEXT_EMBEDDING).process(
        found({"t": "a"}, {"t": "b"}), context()
    )
    assert [source["o"] for source in sources(changed)] == ["a", "b"]
    assert len(predictor.calls) == 3


def failing(asked: MLInput) -> MLOutput:
    if isinstance(asked, RemoteInput) and asked.parameters.get("a") != "bad":
        return echo(asked)
    texts = asked.text_docs if isinstance(asked, TextSimilarityInput) else ("bad",)
    if "bad" in texts:
        raise EngineError("broken")
    return lengths(asked)


async def test_an_ignored_failure_costs_its_own_hit_only() -> None:
    response = found({"t": "a"}, {"t": "bad"}, {"t": "c"})
    with pytest.raises(EngineError, match="broken"):
        await processor(FakePredictor(failing), echoing()).process(response, context())
    changed = await processor(FakePredictor(failing), echoing()).process(response, context(ignore_failure=True))
    assert sources(changed) == [{"t": "a", "o": "a"}, {"t": "bad"}, {"t": "c", "o": "c"}]
    config = {**CROSS_ENCODER, "input_map": [{"text_docs": "t", "query_text": "t"}]}
    config["model_input"] = '{"text_docs": ["${input_map.text_docs}"], "query_text": "q"}'
    local = processor(FakePredictor(failing), config, FunctionName.TEXT_SIMILARITY)
    changed = await local.process(response, context(ignore_failure=True))
    assert sources(changed) == [{"t": "a", "rank_score": [1.0]}, {"t": "bad"}, {"t": "c", "rank_score": [1.0]}]


async def test_a_full_queue_is_not_asked_again_for_each_hit() -> None:
    def answer(asked: MLInput) -> MLOutput:
        raise TooManyRequests("full")

    predictor = FakePredictor(answer)
    local = processor(predictor, CROSS_ENCODER, FunctionName.TEXT_SIMILARITY)
    response = found({"content": "a"}, {"content": "b"})
    assert sources(await local.process(response, context(QUERY, ignore_failure=True))) == sources(response)
    assert len(predictor.calls) == 1


async def test_an_output_that_is_missing_for_one_hit() -> None:
    def answer(asked: MLInput) -> MLOutput:
        assert isinstance(asked, RemoteInput)
        return answering({"o": 1} if asked.parameters["a"] == "a" else {})

    made = processor(FakePredictor(answer), echoing(output_map=[{"o": "o"}]))
    response = found({"t": "a"}, {"t": "b"})
    with pytest.raises(EngineError, match="cannot find field name: o"):
        await made.process(response, context())
    assert sources(await made.process(response, context(ignore_failure=True))) == [{"t": "a", "o": 1}, {"t": "b"}]


async def test_hits_without_their_fields_cost_no_call() -> None:
    predictor = FakePredictor()
    for one_to_one in (True, False):
        made = processor(predictor, echoing(one_to_one=one_to_one, ignore_missing=True))
        response = found({"z": 1}, {"t": None})
        del response["hits"]["hits"][0]["_source"]
        assert sources(await made.process(response, context())) == [None, {"t": None}]
    assert not predictor.calls


async def test_one_list_may_fill_several_fields_of_the_hits_that_contributed() -> None:
    predictor = FakePredictor(lambda asked: answering({"out": ["A", "B"]}))
    config = {"input_map": [{"a": "t"}], "output_map": [{"x": "out", "y": "out"}], "ignore_missing": True}
    changed = await processor(predictor, config).process(found({"t": 1}, {}, {"t": 2}), context())
    assert sources(changed) == [{"t": 1, "x": "A", "y": "A"}, {}, {"t": 2, "x": "B", "y": "B"}]
    assert predictor.calls == [RemoteInput(parameters={"a": "[1,2]"})]


async def test_the_query_is_read_where_no_hit_has_the_field() -> None:
    predictor = FakePredictor()
    config = echoing(input_map=[{"a": "$.query.term.content.value"}])
    changed = await processor(predictor, config).process(found({}, {}), context(QUERY))
    assert [source["o"] for source in sources(changed)] == ["who", "who"]
    own = found({"query": {"term": {"content": {"value": "mine"}}}})
    asked = context(QUERY)
    assert sources(await processor(predictor, config).process(own, asked))[0]["o"] == "mine"
    assert isinstance(asked.request, Request)
    assert asked.request.asked == 0
    with pytest.raises(InvalidRequest, match="cannot find all required input fields"):
        await processor(predictor, config).process(found({}), context({}))


async def test_the_request_is_asked_for_once_and_only_when_read() -> None:
    one, other = context(QUERY), context(QUERY)
    await processor(FakePredictor(), echoing()).process(found({"t": "a"}, {"t": "b"}), one)
    reading = echoing(input_map=[{"a": "_request.query.term.content.value", "t": "t"}])
    await processor(FakePredictor(), reading).process(found({"t": "a"}, {"t": "b"}), other)
    assert isinstance(one.request, Request)
    assert isinstance(other.request, Request)
    assert (one.request.asked, other.request.asked) == (0, 1)


async def test_an_optional_part_of_the_request_may_be_absent() -> None:
    config = echoing(optional_input_map=[{"b": "_request.query.bool"}])
    assert sources(await processor(FakePredictor(), config).process(found({"t": "a"}), context(QUERY)))[0]["o"] == "a"


async def test_ext_keeps_what_stood_there() -> None:
    predictor = FakePredictor(lambda asked: answering({"s": [1, 2]}))
    config = {"input_map": [{"a": "t"}], "output_map": [{"ext.ml_inference.b": "s"}]}
    response = {**found({"t": 1}, {"t": 2}), "ext": {"ml_inference": {"a": 0, "b": 9}, "other": 1}}
    changed = await processor(predictor, config).process(response, context())
    assert changed["ext"] == {"ml_inference": {"a": 0, "b": [1, 2]}, "other": 1}
    assert sources(changed) == sources(response)
    assert response["ext"]["ml_inference"]["b"] == 9


@pytest.mark.parametrize("response", [{}, {"hits": {}}, {"hits": {"hits": []}}, {"hits": None}])
async def test_without_hits_nothing_happens(response: dict[str, Any]) -> None:
    predictor = FakePredictor()
    assert await processor(predictor, echoing()).process(response, context()) is response
    assert not predictor.calls


async def test_an_error_shows_the_hit_and_the_query() -> None:
    with pytest.raises(InvalidRequest) as missing:
        await processor(FakePredictor(), echoing()).process(found({"z": [1], "e": [], "o": {}}), context(QUERY))
    assert missing.value.reason == (
        'cannot find all required input fields: [t] in hit:{\n  "_index" : "i",\n  "_id" : "1",\n  "_score" : 1.0,\n'
        '  "_source" : {\n    "z" : [\n      1\n    ],\n    "e" : [ ],\n    "o" : { }\n  }\n} '
        'and query body:{"query":{"term":{"content":{"value":'
        '"who","boost":1.0}}}}'
    )


def test_ext_can_not_be_written_hit_by_hit() -> None:
    for key in ("output_map", "optional_output_map"):
        with pytest.raises(InvalidRequest, match="does not support when one_to_one is true"):
            processor(FakePredictor(), {**echoing(output_map=[]), key: [{"ext.ml_inference.x": "y"}]})


async def test_what_a_hit_holds_is_not_written_to_the_log() -> None:
    def failing(asked: MLInput) -> MLOutput:
        raise InvalidRequest(f"Invalid payload: {asked}")

    with capture_logs() as lines:
        changed = await processor(FakePredictor(failing), echoing()).process(
            found({"t": "a private text"}), context(ignore_failure=True)
        )
    assert sources(changed) == [{"t": "a private text"}]
    assert [line["error"] for line in lines] == ["illegal_argument_exception"]
    assert "private" not in str(lines)


async def test_a_hit_without_a_document_lacks_every_field() -> None:
    predictor = FakePredictor()
    config = {"input_map": [{"a": "parts[*].n"}], "output_map": [{"o": "$.echo.a"}]}
    without = {"hits": {"total": {"value": 1, "relation": "eq"}, "hits": [{"_index": "i", "_id": "1"}]}}
    with pytest.raises(InvalidRequest, match="cannot find all required input fields"):
        await processor(predictor, config).process(without, context())
    assert not predictor.calls
