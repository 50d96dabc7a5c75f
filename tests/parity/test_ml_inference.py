"""Every option of both `ml_inference` search processors, on the bridge and on the real ML Commons: the answers, and
what the models were asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_service import FakeService, private_endpoints
from inference_models import EchoModels, compared, run
from scenario import Side, Step

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(300)]

CANNED = {"lang": "en", "vec": [0.1, 0.2], "n": 3, "obj": {"a": 1, "b": "x"}, "mat": [[1, 2], [3, 4]], "gone": None}
LISTS = {"out": ["A", "B", "C", "D"], "one": "Z", "n": 7, "short": [1, 2], "lang": "en", "o": {"k": [1]}}
APPLE = {"match": {"title": {"query": "apple"}}}
TITLE = "query.match.title.query"


@pytest.fixture
async def models(sides: tuple[Side, Side], shared_service: FakeService) -> AsyncIterator[EchoModels]:
    bridge, reference = sides
    bridge.names["side"], reference.names["side"] = "bridge", "reference"
    made = EchoModels(shared_service, ("bridge", "reference"))
    with private_endpoints(bridge.url), private_endpoints(reference.url):
        await run(made.steps(), sides)
        yield made
        await run(made.cleaning(), sides)


def request(name: str, model: str, config: dict[str, Any], body: dict[str, Any] | None = None, **options: Any) -> Step:
    """A search through one request processor."""
    common = {key: config.pop(key) for key in ("ignore_failure",) if key in config}
    made = {"request_processors": [{"ml_inference": {"model_id": f"<{model}>", **config, **common}}]}
    source = {"query": APPLE, "_source": ["title", "num"]} if body is None else body
    return Step(name, "POST", "/<unique>/_search", {**source, "search_pipeline": made}, unordered=True, **options)


def response(name: str, model: str, config: dict[str, Any], body: dict[str, Any] | None = None, **options: Any) -> Step:
    """A search through one response processor; the empty profile that some answers of the real server bring is not
    compared."""
    made = {"response_processors": [{"ml_inference": {"model_id": f"<{model}>", **config}}]}
    source = {"query": {"match_all": {}}, "sort": ["num"], "_source": ["title", "num"], **(body or {})}
    options.setdefault("skip", ("profile",))
    return Step(name, "POST", "/<unique>/_search", {**source, "search_pipeline": made}, unordered=True, **options)


def put(name: str, side: str, config: Any, **options: Any) -> Step:
    body = {f"{side}_processors": [{"ml_inference": config}]}
    return Step(name, "PUT", "/_search/pipeline/<unique>-bad", body, **options)


def config(**more: Any) -> dict[str, Any]:
    return {"model_id": "m", "input_map": [{"a": TITLE}], "output_map": [{TITLE: "$.echo.a"}], **more}


CLASS_CAST = "what is no map is class_cast_exception (500) in the real server; here it is the client's mistake"

DEFINITIONS = [
    put("plain", "request", config()),
    put("no model", "request", {k: v for k, v in config().items() if k != "model_id"}),
    put("model no text", "request", config(model_id=5)),
    put("empty input map", "request", config(input_map=[])),
    put("empty output map", "request", config(output_map=[])),
    put("optional maps only", "request", {
        "model_id": "m", "optional_input_map": [{"a": "x"}], "optional_output_map": [{"b": "c"}]}),
    put("lengths", "request", config(input_map=[{"a": TITLE}, {"a": TITLE}])),
    put("optional lengths", "request", config(optional_output_map=[{"x": "y"}, {"x": "y"}])),
    put("too many", "request", config(
        input_map=[{"a": "x"}] * 2, output_map=[{"x": "a"}] * 2, max_prediction_tasks=1)),
    put("map of texts", "request", config(input_map=["a"]), differs=CLASS_CAST, status=400, kind="parse_exception"),
    put("map no list", "request", config(input_map={"a": "b"})),
    put("number of tasks", "request", config(max_prediction_tasks="abc")),
    put("number as text", "request", config(max_prediction_tasks="7")),
    put("flag as text", "request", config(ignore_missing="true")),
    put("full as number", "request", config(full_response_path=1)),
    put("model config no map", "request", config(model_config=[1])),
    put("model input no text", "request", config(model_input={"a": 1})),
    put("template no text", "request", config(query_template={"a": 1})),
    put("unknown key", "request", config(one_to_one=True)),
    put("local without input", "request", config(function_name="text_embedding")),
    put("bogus function", "request", config(function_name="bogus", model_input="{}")),
    put("function no text", "request", config(function_name=3)),
    put("tagged", "request", config(tag="t", description="d", ignore_failure=True)),
    put("tagged wrong", "request", config(tag="t", ignore_missing="x")),
    put("no maps", "response", {"model_id": "m"}),
    put("template", "response", {"model_id": "m", "query_template": "x"}),
    put("ext alone", "response", config(one_to_one=True, output_map=[{"ext.ml_inference.x": "a"}])),
    put("ext", "response", config(output_map=[{"ext.ml_inference.x": "a"}])),
    put("lengths in response", "response", config(input_map=[{"a": "b"}, {"a": "b"}])),
    put("override as text", "response", config(override="no")),
    put("one to one as text", "response", config(one_to_one="yes")),
    put("null in output", "response", config(output_map=[{"x": None}])),
    put("config a text", "response", "x", differs=CLASS_CAST, status=400),
    Step("forget", "DELETE", "/_search/pipeline/<unique>-bad"),
]  # fmt: skip

INPUT = {"input_map": [{"input": TITLE}]}
A = {"input_map": [{"a": TITLE}], "output_map": [{TITLE: "$.echo.a"}]}
QUOTED = {"query": {"match": {"title": {"query": 'apple "x" \\ y'}}}, "_source": ["title"]}
ESCAPED = "a quote in a value ends the payload of the real server; here a value stays in its place"
NO_CALL = "the real server calls the model although nothing is to be asked, and answers twice"

REQUESTS = [
    request("dot path", "scalar", {"input_map": [{"text": TITLE}], "output_map": [{TITLE: "echo.text"}]}),
    request("dollar", "scalar", {"input_map": [{"text": f"$.{TITLE}"}], "output_map": [{f"$.{TITLE}": "$.echo.text"}]}),
    request("short form", "two", {**A}, {"query": {"match": {"title": "pear"}}, "_source": ["title"]}),
    request("missing", "two", {**A}, {"query": {"term": {"tag": "fruit"}}}),
    request("no body", "two", {**A}, {}),
    request("missing, failure ignored", "two", {**A, "ignore_failure": True}, {"query": {"term": {"tag": "fruit"}}}),
    request("object for a leaf", "canned", {**INPUT, "output_map": [{TITLE: "obj"}]}, skip=("col",)),
    request("size absent", "canned", {**INPUT, "output_map": [{"size": "n"}]}),
    request("size present", "canned", {**INPUT, "output_map": [{"size": "n"}]},
            {"size": 1, "query": {"match": {"title": "apple pear car"}}, "_source": ["title"]}),
    request("output path missing", "canned", {**INPUT, "output_map": [{"query.term.x": "n"}]}),
    request("output missing", "canned", {**INPUT, "output_map": [{TITLE: "nope"}]}),
    request("output missing ignored", "canned", {**INPUT, "ignore_missing": True, "output_map": [{TITLE: "nope"}]},
            skip=("col",)),
    request("output null", "canned", {**INPUT, "output_map": [{"ext.ml_inference.x": "gone"}]}),
    request("template, text", "canned", {
        **INPUT, "output_map": [{"out": "lang"}],
        "query_template": '{"query":{"term":{"m.lang":{"value":"${out}"}}},"sort":["num"]}'}),
    request("template, number", "canned", {
        **INPUT, "output_map": [{"out": "n"}],
        "query_template": '{"size":2,"query":{"range":{"num":{"gte":${out}}}},"sort":["num"]}'}),
    request("template, list", "canned", {
        **INPUT, "output_map": [{"out": "vec"}], "query_template": '{"query":{"terms":{"score_f":${out}}}}'}),
    request("template, object", "canned", {
        **INPUT, "output_map": [{"out": "obj"}],
        "query_template": '{"query":{"match_none":{}},"ext":{"ml_inference":${out}}}'}),
    request("template, unknown name", "canned", {
        **INPUT, "output_map": [{"out": "obj"}], "query_template": '{"query":{"term":{"tag":{"value":"${other}"}}}}'}),
    request("template, default", "canned", {
        **INPUT, "output_map": [{"out": "lang"}], "query_template": '{"query":{"term":{"m.lang":"${other:-fr}"}}}'}),
    request("template, text with quotes", "two", {
        "input_map": [{"a": TITLE}], "output_map": [{"o": "$.echo.a"}],
        "query_template": '{"query":{"match":{"title":"${o}"}},"size":1,"_source":["title"]}'},
        QUOTED, differs=ESCAPED, status=200),
    request("mean pooling", "canned", {
        **INPUT, "output_map": [{"out": "mat.meanPooling()"}],
        "query_template": '{"query":{"terms":{"num":${out}}},"_source":["num"],"sort":["num"]}'}),
    request("max pooling", "canned", {
        **INPUT, "output_map": [{"out": "$.mat.maxPooling()"}],
        "query_template": '{"query":{"terms":{"num":${out}}},"_source":["num"],"sort":["num"]}'}),
    request("pooling a text", "canned", {
        **INPUT, "output_map": [{"out": "lang.maxPooling()"}], "query_template": '{"size":${out}}'}),
    request("pooling a vector", "canned", {**INPUT, "output_map": [{TITLE: "vec.meanPooling()"}]}),
    request("full path", "canned", {
        **INPUT, "full_response_path": True,
        "output_map": [{"out": "$.inference_results[0].output[0].dataAsMap.lang"}],
        "query_template": '{"query":{"term":{"m.lang":{"value":"${out}"}}},"sort":["num"]}'}),
    request("full path, number", "canned", {
        **INPUT, "full_response_path": True, "output_map": [{"out": "$.inference_results[0].output[0].dataAsMap.n"}],
        "query_template": '{"size":${out},"query":{"match_all":{}},"_source":["num"],"sort":["num"]}'}),
    request("full path missing", "canned", {
        **INPUT, "full_response_path": True, "output_map": [{TITLE: "$.inference_results[0].output[0].zzz"}]}),
    request("config", "two", {**A, "model_config": {"b": "cfg"}}),
    request("config overlaid", "two", {**A, "model_config": {"a": "cfgA", "b": 5}}),
    request("config of all kinds", "two", {**A, "model_config": {"b": 1.50}}),
    request("input template", "two", {
        **A, "model_config": {"k": "cfgk"},
        "model_input": '{"parameters":{"a":"${input_map.a}!","b":"${model_config.k}"}}'}),
    request("input template, unknown", "two", {
        **A, "model_input": '{"parameters":{"a":"${input_map.zz}","b":"${model_config.k}"}}'}),
    request("input template, default", "two", {**A, "model_input": '{"parameters":{"a":"${input_map.zz:-pear}"}}'}),
    request("input template, same key", "two", {
        **A, "model_config": {"a": "cfgA"},
        "model_input": '{"parameters":{"a":"${input_map.a}","b":"${model_config.a}"}}'}),
    request("input template, whole map", "two", {**A, "model_input": '{"parameters": ${ml_inference.parameters}}'}),
    request("input template, no JSON", "two", {**A, "model_input": '{"parameters": '}),
    request("input template, list", "two", {**A, "model_input": "[1]"}),
    request("input template, unquoted text", "two", {**A, "model_input": '{"parameters":{"a": ${input_map.zz}}}'}),
    request("quotes in a template", "two", {**A, "model_input": '{"parameters":{"a":"${input_map.a}"}}'},
            QUOTED, differs=ESCAPED, status=200),
    request("quotes", "two", {**A}, QUOTED),
    request("placeholder in a value", "two", {**A, "model_config": {"k": "KV"}},
            {"query": {"match": {"title": "x ${model_config.k} ${foo} $ {y}"}}, "size": 0}),
    request("list", "list", {
        "input_map": [{"input": "query.terms.tag"}], "output_map": [{"query.terms.tag": "$.echo.input"}]},
            {"query": {"terms": {"tag": ["fruit", "x"]}}, "_source": ["tag"], "sort": ["num"]}),
    request("wildcard", "list", {
        "input_map": [{"input": "query.bool.must.*.match.title.query"}],
        "output_map": [{"query.bool.must[0].match.title.query": "$.echo.input[1]"}]},
        {"query": {"bool": {"must": [{"match": {"title": "red"}}, {"match": {"title": "pear"}}]}},
         "_source": ["title"]}),
    request("number", "two", {"input_map": [{"a": "size", "b": "min_score"}], "output_map": [{"zz": "$.echo.a"}]},
            {"query": APPLE, "size": 1, "min_score": 0.25, "_source": ["title"]}),
    request("optional absent", "two", {**A, "optional_input_map": [{"b": "ext.ml_inference.b"}]}),
    request("optional present", "two", {**A, "optional_input_map": [{"b": "ext.ml_inference.b"}]},
            {"query": APPLE, "ext": {"ml_inference": {"b": "x"}}, "_source": ["title"]}),
    request("optional output absent", "canned", {
        **INPUT, "optional_output_map": [{"query.term.x": "n"}]}, {"query": APPLE, "_source": ["title"]}),
    request("null output path", "canned", {**INPUT, "output_map": [{"ext.ml_inference.x": None}]}),
    request("bogus function", "canned", {
        **INPUT, "output_map": [{TITLE: "n"}], "function_name": "bogus", "model_input": "{}"}),
    request("unknown model", "scalar", {"model_id": "nope", **A}),
]  # fmt: skip


TITLES = {"input_map": [{"input": "title"}]}
ECHOED = {"input_map": [{"a": "title"}], "output_map": [{"d": "$.echo.a"}], "one_to_one": True}
TEXT = {"_source": ["num", "text"]}

RESPONSES = [
    response("list spread", "cannedlist", {**TITLES, "output_map": [{"label": "out"}]}),
    response("text for all", "cannedlist", {**TITLES, "output_map": [{"label": "one"}]}),
    response("number for all", "cannedlist", {**TITLES, "output_map": [{"label": "n"}]}),
    response("object for all", "cannedlist", {**TITLES, "output_map": [{"label": "o", "deep": "$.o.k[0]"}]}),
    response("other length", "cannedlist", {**TITLES, "output_map": [{"label": "short"}]}),
    response("missing", "cannedlist", {"input_map": [{"input": "text"}], "output_map": [{"label": "out"}]}),
    response("missing ignored", "cannedlist", {
        "ignore_missing": True, "input_map": [{"input": "text"}], "output_map": [{"label": "one"}]}, TEXT),
    response("missing, failure ignored", "cannedlist", {
        "ignore_failure": True, "input_map": [{"input": "text"}], "output_map": [{"label": "out"}]}),
    response("no output map", "cannedlist", {**TITLES}, {"size": 2}),
    response("no output map, full", "cannedlist", {**TITLES, "full_response_path": True}, {"size": 1}),
    response("no input map", "two", {"output_map": [{"o": "$.echo"}], "model_config": {"a": "A"}}, {"size": 1}),
    response("kept", "cannedlist", {**TITLES, "output_map": [{"title": "out"}]}),
    response("overridden", "cannedlist", {**TITLES, "output_map": [{"title": "out"}], "override": True}),
    response("dotted key", "cannedlist", {**TITLES, "output_map": [{"m.new": "out"}]}, {"_source": ["title", "m"]}),
    response("dotted field", "cannedlist", {"input_map": [{"input": "m.lang"}], "output_map": [{"o": "out"}]},
             {"_source": ["m"]}),
    response("array", "cannedlist", {
        "ignore_missing": True, "input_map": [{"input": "$.parts[*].name"}], "output_map": [{"o": "one"}]},
        {"_source": ["parts"]}),
    response("request's field", "two", {
        "one_to_one": True, "input_map": [{"a": "title", "b": "_request.query.match.title.query"}],
        "output_map": [{"o": "$.echo"}]},
        {"query": {"match": {"title": "red"}}, "sort": ["num"], "_source": ["title"]}),
    response("request's field with dollar", "two", {
        "one_to_one": True, "input_map": [{"a": "title", "b": "$._request.query.match.title.query"}],
        "output_map": [{"o": "$.echo.b"}]}, {"query": {"match": {"title": "red"}}, "_source": ["title"]}),
    response("request's field missing", "two", {
        "one_to_one": True, "input_map": [{"b": "_request.query.term.x"}], "output_map": [{"o": "$.echo.b"}]},
        {"query": {"match": {"title": "red"}}}),
    response("request's field missing ignored", "two", {
        "ignore_missing": True, "one_to_one": True, "input_map": [{"a": "title", "b": "_request.query.term.x"}],
        "output_map": [{"o": "$.echo.b"}]}, {"query": {"match": {"title": "red"}}}),
    response("request's field for all", "raw", {
        "model_input": '{"parameters":{"payload":{"docs":${input_map.docs},"q":"${input_map.q}"}}}',
        "input_map": [{"docs": "title", "q": "_request.query.match.title.query"}], "output_map": [{"o": "$.echo.q"}]},
        {"query": {"match": {"title": "red pear"}}}),
    response("request's other parts", "text", {
        "input_map": [{"input": "_request.size", "t": "title"}], "output_map": [{"o": "$.echo.input"}]}, {"size": 1}),
    response("ext", "cannedlist", {**TITLES, "output_map": [{"ext.ml_inference.summary": "one"}]}, {"size": 2}),
    response("ext, dotted", "cannedlist", {**TITLES, "output_map": [{"ext.ml_inference.a.b": "out"}]}, {"size": 4}),
    response("ext, whole", "cannedlist", {**TITLES, "output_map": [{"ext.ml_inference": "one"}]}, {"size": 1}),
    response("ext and hits", "cannedlist", {
        "input_map": [{"input": "title"}, {"input": "num"}],
        "output_map": [{"ext.ml_inference.s": "one"}, {"lab": "out"}]}),
    response("no hits", "cannedlist", {**TITLES, "output_map": [{"ext.ml_inference.s": "one"}]},
             {"query": {"match_none": {}}}),
    response("size 0", "cannedlist", {**TITLES, "output_map": [{"o": "one"}]}, {"size": 0}),
    response("no source", "cannedlist", {**TITLES, "output_map": [{"o": "one"}]},
             {"query": {"ids": {"values": ["1"]}}, "sort": ["num"], "_source": False, "fields": ["title"]}),
    response("no source ignored", "cannedlist", {**TITLES, "output_map": [{"o": "one"}], "ignore_missing": True},
             {"_source": False, "size": 1}, differs=NO_CALL, status=200),
    response("one to one", "two", {**ECHOED}, {"query": {"ids": {"values": ["2"]}}}),
    response("one to one, list", "canned", {**TITLES, "one_to_one": True, "output_map": [{"d": "out"}]}, {"size": 1}),
    response("one to one, number", "two", {
        "one_to_one": True, "input_map": [{"a": "num", "b": "score_f"}], "output_map": [{"d": "$.echo"}]},
        {"_source": ["num", "score_f"], "size": 1}),
    response("one to one, missing", "two", {
        "one_to_one": True, "input_map": [{"a": "text"}], "output_map": [{"d": "$.echo.a"}]},
        {**TEXT, "query": {"ids": {"values": ["4"]}}}),
    response("one to one, missing ignored", "two", {
        "one_to_one": True, "ignore_missing": True, "input_map": [{"a": "text"}], "output_map": [{"d": "$.echo.a"}]},
        {**TEXT, "query": {"ids": {"values": ["4"]}}}, differs=NO_CALL, status=200),
    response("two maps one to one", "two", {
        "one_to_one": True, "input_map": [{"a": "title"}, {"a": "num"}],
        "output_map": [{"d": "$.echo.a"}, {"e": "$.echo"}]}, {"size": 1}),
    response("config for a field", "two", {
        "one_to_one": True, "model_config": {"text": "dflt"}, "input_map": [{"a": "text"}],
        "output_map": [{"d": "$.echo"}]},
        {"size": 1}),
    response("optional field", "two", {
        "one_to_one": True, "input_map": [{"a": "title"}], "optional_input_map": [{"b": "text"}],
        "output_map": [{"d": "$.echo"}]}, {"query": {"ids": {"values": ["4"]}}}),
    response("optional fields of some", "cannedlist", {
        "input_map": [{"input": "title"}], "optional_input_map": [{"t": "text"}], "output_map": [{"d": "out"}]},
        {"_source": ["title", "text"]}),
    response("output missing ignored", "cannedlist", {
        **TITLES, "ignore_missing": True, "output_map": [{"d": "nope"}]}, {"size": 1}),
    response("full path", "cannedlist", {
        **TITLES, "full_response_path": True, "output_map": [{"d": "$.inference_results[0].output[0]"}]}, {"size": 1}),
    response("full path, all", "cannedlist", {
        **TITLES, "full_response_path": True, "output_map": [{"d": "$.inference_results"}]}, {"size": 1}),
    response("full path missing ignored", "cannedlist", {
        **TITLES, "full_response_path": True, "ignore_missing": True, "output_map": [{"d": "$.zz"}]}, {"size": 1}),
    response("unknown model", "scalar", {"model_id": "nope", **TITLES, "output_map": [{"d": "out"}]}),
    response("highlight", "canned", {**TITLES, "one_to_one": True, "output_map": [{"o": "one"}]}, {
        "query": {"match": {"title": "red"}}, "highlight": {"fields": {"title": {}}}, "fields": ["num"],
        "version": True,
        "aggs": {"t": {"terms": {"field": "tag"}}}}),
]  # fmt: skip

ERRORS = [
    response("model's error", "cannedlist", {**TITLES, "output_map": [{"d": "out"}]}),
    response("model's error, failure ignored", "cannedlist", {
        **TITLES, "output_map": [{"d": "out"}], "ignore_failure": True}),
    response("model's error, one to one", "canned", {
        **TITLES, "output_map": [{"d": "out"}], "one_to_one": True}, {"size": 1}),
    request("model's error in a request", "canned", {**INPUT, "output_map": [{TITLE: "one"}]}),
    request("ignored in a request", "canned", {**INPUT, "output_map": [{TITLE: "one"}], "ignore_failure": True}),
]  # fmt: skip


def chain(name: str, request: list[Any], response: list[Any], body: dict[str, Any], **options: Any) -> Step:
    """A search through a chain of processors, each an object of `ml_inference` settings or a native processor."""

    def made(processors: list[Any]) -> list[Any]:
        return [one if "model_id" not in one else {"ml_inference": one} for one in processors]

    pipeline = {"request_processors": made(request), "response_processors": made(response)}
    options.setdefault("skip", ("profile", "duration_millis"))
    return Step(name, "POST", "/<unique>/_search", {**body, "search_pipeline": pipeline}, unordered=True, **options)


LANGUAGE = {"model_id": "<cannedlist>", "input_map": [{"input": "_source.includes"}]}
LABEL = {"model_id": "<cannedlist>", **TITLES, "output_map": [{"label": "out"}]}
SORTED = {"query": {"match_all": {}}, "sort": ["num"], "_source": ["title"]}

CHAINS = [
    chain("ext from request to response", [{**LANGUAGE, "output_map": [{"ext.ml_inference.lang": "lang"}]}], [
        {"model_id": "<two>", "one_to_one": True, "output_map": [{"d": "$.echo"}],
         "input_map": [{"a": "title", "b": "_request.ext.ml_inference.lang"}]}],
        {"query": APPLE, "_source": ["title"]}),
    chain("what one writes the next reads", [
        {**LANGUAGE, "output_map": [{"ext.ml_inference.n": "n"}]},
        {"model_id": "<two>", "input_map": [{"a": "ext.ml_inference.n"}], "output_map": [{"size": "$.echo.a"}]}],
        [], {**SORTED, "size": 1}),
    chain("a template query", [{**LANGUAGE, "output_map": [{"ext.ml_inference.tags": "lang"}]}], [],
          {"query": {"template": {"term": {"m.lang": {"value": "${ext.ml_inference.tags}"}}}}, "_source": ["num"],
           "sort": ["num"]}),
    chain("two responses", [], [
        {**LABEL, "output_map": [{"o": "out", "ext.ml_inference.a": "one"}]},
        {"model_id": "<cannedlist>", "input_map": [{"input": "o"}], "output_map": [{"ext.ml_inference.b": "n"}]}],
        SORTED),
    chain("a filter after ours", [
        {"model_id": "<scalar>", "input_map": [{"text": TITLE}], "output_map": [{TITLE: "$.echo.text"}]},
        {"filter_query": {"query": {"term": {"tag": "fruit"}}}}], [],
        {"query": {"match": {"title": "red pear car"}}, "_source": ["title"], "sort": ["num"]}),
    chain("fewer hits before ours", [], [{"truncate_hits": {"target_size": 2}}, LABEL], SORTED),
    chain("ours, renamed", [], [LABEL, {"rename_field": {"field": "label", "target_field": "name"}}], SORTED),
    chain("in verbose mode", [{**LANGUAGE, "output_map": [{"ext.ml_inference.n": "n"}]}],
          [LABEL, {**LABEL, "tag": "again"}],
          {**SORTED, "verbose_pipeline": True}),
]  # fmt: skip


async def test_definitions(sides: tuple[Side, Side], shared_service: FakeService) -> None:
    for side in sides:
        side.names["side"] = "none"
    await compared(DEFINITIONS, sides, EchoModels(shared_service, ()))


async def test_searches(sides: tuple[Side, Side], models: EchoModels) -> None:
    models.canned(CANNED)
    await compared(REQUESTS, sides, models)
    models.canned(LISTS)
    await compared(RESPONSES, sides, models)
    await compared(CHAINS, sides, models)
    for status in (400, 429, 500):
        models.canned({"error": "bad"}, status=status)
        await compared(ERRORS, sides, models)
