"""The request processor where it is not the real server's (tests/parity/test_ml_inference.py has the rest)."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference_fakes import FakePredictor, answering, context, services

from bridge.domain.caller import Caller
from bridge.domain.tensor import RemoteInput, TextDocsInput
from bridge.errors import InvalidRequest, NotFound, Unavailable, Unparsable
from bridge.processors.ml_inference_request import MLInferenceRequest, build

SOURCE: dict[str, Any] = {
    "query": {"match": {"title": {"query": 'red "apple"', "boost": 1.0}}},
    "ext": {"ml_inference": {"a": "x", "n": [1]}, "other": {"b": 1}},
}
TITLE = "query.match.title.query"


def processor(predictor: FakePredictor, **config: Any) -> MLInferenceRequest:
    made = {"model_id": "m", "input_map": [{"a": TITLE}], "output_map": [{TITLE: "$.echo.a"}], **config}
    return build(made, services(predictor))


async def test_writes_the_query_and_leaves_the_given_source_alone() -> None:
    predictor = FakePredictor()
    before = copy.deepcopy(SOURCE)
    given_context = context()
    changed = await processor(
        predictor,
        model_input='{"parameters": {"a": "${input_map.a}!"}}',
        output_map=[{TITLE: "$.echo.a", "ext.ml_inference.deep.list[1].x": "echo", "absent": "$.echo.a"}],
    ).rewrite(SOURCE, given_context)
    assert before == SOURCE
    assert changed["query"]["match"]["title"]["query"] == 'red "apple"!'
    assert changed["ext"]["ml_inference"] == {
        "a": "x",
        "n": [1],
        "deep": {"list": [None, {"x": {"a": 'red "apple"!'}}]},
    }
    assert "absent" not in changed
    assert given_context.attributes == {
        "ext.ml_inference.a": "x",
        "ext.ml_inference.n": [1],
        TITLE: 'red "apple"!',
        "ext.ml_inference.deep.list[1].x": {"a": 'red "apple"!'},
        "absent": 'red "apple"!',
    }


async def test_a_text_in_the_way_of_ext_stays() -> None:
    changed = await processor(FakePredictor(), output_map=[{"ext.ml_inference.a.deep": "$.echo.a"}]).rewrite(
        SOURCE, context()
    )
    assert changed["ext"] == SOURCE["ext"]


async def test_several_maps_change_one_query_in_order() -> None:
    predictor = FakePredictor(delays=lambda at: 0.02 if at == 0 else 0)
    changed = await processor(
        predictor,
        input_map=[{"a": TITLE}, {"a": "ext.ml_inference.a"}],
        output_map=[{"ext.ml_inference.first": "$.echo.a", TITLE: "$.echo.a"}, {TITLE: "$.echo.a"}],
    ).rewrite(SOURCE, context())
    assert changed["query"]["match"]["title"]["query"] == "x"
    assert changed["ext"]["ml_inference"]["first"] == 'red "apple"'
    assert predictor.most == 2


async def test_several_maps_fill_one_template() -> None:
    changed = await processor(
        FakePredictor(),
        query_template='{"query": {"match": {"title": "${t} ${u}"}}}',
        input_map=[{"a": TITLE}, {"a": "ext.ml_inference.a"}],
        output_map=[{"t": "$.echo.a"}, {"u": "$.echo.a"}],
    ).rewrite(SOURCE, context())
    assert changed == {"query": {"match": {"title": 'red "apple" x'}}}


async def test_ignore_missing_leaves_the_query_and_asks_nobody() -> None:
    predictor = FakePredictor()
    for config in ({"input_map": [{"a": "query.term.x"}]}, {"output_map": [{"query.term.x": "$.echo.a"}]}):
        assert await processor(predictor, ignore_missing=True, **config).rewrite(SOURCE, context()) is SOURCE
        with pytest.raises(InvalidRequest, match=r"cannot find field: query\.term\.x in query"):
            await processor(predictor, **config).rewrite(SOURCE, context())
    assert not predictor.calls


async def test_values_go_to_the_model_as_texts() -> None:
    predictor = FakePredictor()
    source = {**SOURCE, "size": 5, "terms": ["a", {"b": None}], "track": False}
    await processor(
        predictor,
        input_map=[{"q": TITLE, "s": "size", "l": "terms", "t": "track"}],
        output_map=[{"x": "echo"}],
        model_config={"s": "hidden", "c": 1.5, "p": "Hi ${parameters.q}"},
    ).rewrite(source, context())
    assert predictor.calls == [
        RemoteInput(
            parameters={
                "s": "5",
                "c": "1.5",
                "p": "Hi ${parameters.q}",
                "q": 'red "apple"',
                "l": '["a",{"b":null}]',
                "t": "false",
            },
            templates=frozenset({"c", "p"}),
        )
    ]


async def test_a_local_function_gets_its_texts_whatever_they_look_like() -> None:
    predictor = FakePredictor(answer=lambda asked: answering({"x": 1}))
    for text in ("null", "12", '["a"]', '{"a": 1}', '"', "${input_map.t}"):
        await processor(
            predictor,
            function_name="text_embedding",
            model_input='{"text_docs": [${input_map.t}, "${ml_inference.t}"], "target_response": ["v"]}',
            input_map=[{"t": "t"}],
            output_map=[{"x": "$.inference_results"}],
        ).rewrite({"t": text}, context())
        assert predictor.calls[-1] == TextDocsInput(text_docs=(text, text), target_response=("v",))


@given(st.text())
def test_no_text_breaks_out_of_its_place(text: str) -> None:
    predictor = FakePredictor()
    changed = asyncio.run(
        processor(
            predictor,
            model_input='{"parameters": {"a": "${input_map.a}", "fixed": "f"}}',
            query_template='{"query": {"match": {"title": "${t}"}}, "size": 1}',
            output_map=[{"t": "$.echo.a"}],
        ).rewrite({"query": {"match": {"title": {"query": text}}}}, context())
    )
    assert predictor.calls == [RemoteInput(parameters={"a": text, "fixed": "f"}, templates=frozenset({"fixed"}))]
    assert changed == {"query": {"match": {"title": text}}, "size": 1}


async def test_a_model_may_write_the_query_itself() -> None:
    predictor = FakePredictor(answer=lambda asked: answering({"dsl": '{"query": {"match_all": {}}}', "bad": "{"}))
    made = processor(predictor, query_template="${q}", output_map=[{"q": "dsl"}])
    assert await made.rewrite(SOURCE, context()) == {"query": {"match_all": {}}}
    for template, reason in (("${q}", "gives no object"), ('{"query": ${z}}', "gives no JSON"), ("{", "gives no JSON")):
        with pytest.raises(Unparsable, match=reason):
            await processor(predictor, query_template=template, output_map=[{"q": "bad"}]).rewrite(SOURCE, context())


async def test_asks_as_the_caller_within_the_time_that_is_left() -> None:
    predictor, caller = FakePredictor(), Caller(name="ann")
    now = asyncio.get_running_loop().time()
    await processor(predictor).rewrite(SOURCE, context(caller=caller, deadline=now + 7))
    [(seconds, asked_as)] = predictor.asked_with
    assert seconds is not None
    assert 6 < seconds <= 7
    assert asked_as is caller
    with pytest.raises(Unavailable):
        await processor(predictor).rewrite(SOURCE, context(deadline=now - 1))
    assert len(predictor.calls) == 1


async def test_the_first_failure_ends_the_other_calls() -> None:
    def answer(asked: Any) -> Any:
        raise NotFound("Failed to find model")

    predictor = FakePredictor(answer=answer, delays=lambda at: 30 if at == 0 else 0)
    with pytest.raises(NotFound):
        await processor(predictor, input_map=[{"a": TITLE}, {"a": TITLE}], output_map=[{"x": "y"}, {"x": "y"}]).rewrite(
            SOURCE, context()
        )
    assert (predictor.cancelled, predictor.running) == (1, 0)
