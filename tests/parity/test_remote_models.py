"""Connectors and remote models: the same steps to the bridge and to the reference, one fake service behind both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_service import FakeService, Received, Told, private_endpoints
from scenario import DELETED, ML, Side, Step, play
from server_fixtures import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.parity]

OPENAI = "https://api.openai.com/v1/x"
ACTION = {"action_type": "predict", "method": "POST", "url": OPENAI, "request_body": "{}"}
WHOLE = {"name": "parity", "version": 1, "protocol": "http", "credential": {"k": "v"}, "actions": [ACTION]}
LENIENT = "a client's mistake is 500 in the reference, or silently dropped"


@pytest.fixture(scope="module", autouse=True)
def _private(parity_bridge: str, reference: Cluster) -> Iterator[None]:
    with private_endpoints(parity_bridge), private_endpoints(reference.url):
        yield


def create(name: str, body: Any = None, **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/connectors/_create", body, **options)


def whole(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**WHOLE, **changes}.items() if value != "absent"}


def trusted(**changes: Any) -> dict[str, Any]:
    """A body whose URL is trusted while loopback endpoints are."""
    return whole(**{"actions": [{**ACTION, "url": "http://127.0.0.1:1/x"}], **changes})


REFUSED: dict[str, Any] = {
    "nothing in it": {},
    "a name only": {"name": "a"},
    "no protocol": {"name": "a", "version": 1},
    "no credential": whole(credential="absent"),
    "an empty credential": whole(credential={}),
    "an unknown protocol": whole(protocol="gopher"),
    "no actions": whole(actions="absent"),
    "an action without url": whole(actions=[{"action_type": "predict", "method": "POST"}]),
    "an action without type": whole(actions=[{"method": "POST", "url": OPENAI}]),
    "an action without method": whole(actions=[{"action_type": "predict", "url": OPENAI}]),
    "an unknown action type": whole(actions=[{**ACTION, "action_type": "dance"}]),
    "a bad action name": whole(actions=[{**ACTION, "name": "a b"}]),
    "an action named as a type": whole(actions=[{**ACTION, "name": "predict"}]),
    "an empty action name": whole(actions=[{**ACTION, "name": ""}]),
    "a long action name": whole(actions=[{**ACTION, "name": "a" * 65}]),
    "a bad name": whole(name="a$%<>"),
    "a bad description": whole(description="a<>"),
    "a combining mark in a name": whole(name="e\u0301"),
    "a no-break space in a description": whole(description="a\u00a0b"),
    "a picture in a name": whole(name="a \U0001f600"),
    "a blank name": whole(name=""),
    "a bad number": whole(client_config={"max_connection": "x"}),
    "a bad policy": whole(client_config={"retry_backoff_policy": "zzz"}),
    "an access mode": whole(access_mode="private"),
    "backend roles": whole(backend_roles=["a"]),
    "an untrusted url": trusted(actions=[{**ACTION, "url": "ftp://127.0.0.1/x"}]),
    "aws without keys": whole(protocol="aws_sigv4"),
    "aws without service": whole(protocol="aws_sigv4", credential={"access_key": "a", "secret_key": "b"}),
}


async def test_connectors_that_are_refused(sides: tuple[Side, Side]) -> None:
    steps = [create(name, body) for name, body in REFUSED.items()]
    steps += [
        create("no body", differs=LENIENT, status=400),
        create("a credential that is a list", whole(credential=[1]), differs=LENIENT, status=400),
        create("a nested credential", whole(credential={"a": {"b": 1}}), differs=LENIENT, status=400),
        create("no name", whole(name=None), differs=LENIENT, status=400),
        create("a body that is an object", trusted(actions=[{**ACTION, "request_body": {}}]), differs=LENIENT),
        create(
            "parameters that are a text",
            trusted(parameters="x"),
            capture={"stray": "connector_id"},
            differs=LENIENT,
            status=400,
        ),
        Step("what was made of them", "DELETE", f"{ML}/connectors/<stray>", skip=("_id",), differs="made only there"),
        create("an mcp connector", {"name": "a", "version": 1, "protocol": "mcp_sse"}, differs=LENIENT, status=400),
        create("actions that are an object", whole(actions={"a": 1}), skip=("line", "col", "reason")),
        create("an action that is a text", whole(actions=["x"]), skip=("line", "col", "reason")),
    ]
    await play(steps, *sides)


async def test_letters_of_all_scripts_in_names(sides: tuple[Side, Side]) -> None:
    body = trusted(name="Straße 日本 ½ ²", description="a\n\tb \v\f\r.,!?():@-_'/\"")
    steps = [
        create("made", body, capture={"connector": "connector_id"}),
        Step("read", "GET", f"{ML}/connectors/<connector>"),
        Step("deleted", "DELETE", f"{ML}/connectors/<connector>"),
    ]
    await play(steps, *sides)


async def test_the_life_of_a_connector(sides: tuple[Side, Side]) -> None:
    one = f"{ML}/connectors/<connector>"
    body = trusted(
        parameters={"a": {"b": [1, 2]}, "n": None, "t": True, "f": 1.5, "u": "é<>"},
        client_config={"max_connection": "7", "zz": 1},
        description="first",
    )
    body["actions"][0] |= {"headers": {"X": "${credential.k}"}, "name": "mine", "zz": 1, "action_type": "PreDict"}
    found = {"query": {"term": {"_id": "<connector>"}}}
    steps = [
        create("a dry run", {"dry_run": True}, skip=("connector_id",)),
        create("made", body, capture={"connector": "connector_id"}),
        Step("read", "GET", one, skip=("parameters",)),
        Step("changed", "PUT", one, {"description": "second", "parameters": {"a": 7, "z": "new"}, "version": 2}),
        Step("read again", "GET", one, unordered=True),
        Step("changed nothing", "PUT", one, {}),
        Step("no body", "PUT", one),
        Step("a text for a list", "PUT", one, {"actions": [{"method": "POST"}]}),
        Step("an untrusted url", "PUT", one, {"actions": [{**ACTION, "url": "gopher://x"}]}),
        Step("an array", "PUT", one, [1]),
        Step("searched", "POST", f"{ML}/connectors/_search", found, unordered=True),
        Step("searched for it", "POST", f"{ML}/connectors/_search", {**found, "_source": ["name", "credential"]}),
        Step("searched for a part", "GET", f"{ML}/connectors/_search", {**found, "_source": "description"}),
        Step(
            "searched without source",
            "POST",
            f"{ML}/connectors/_search",
            {**found, "_source": False},
            skip=("_source",),
        ),
        Step("searched without a body", "GET", f"{ML}/connectors/_search"),
        Step("deleted", "DELETE", one),
        Step("gone", "GET", one),
        Step("not changed any more", "PUT", one, {"description": "x"}),
        Step("deleted again", "DELETE", one, skip=("_id",)),
    ]
    await play(steps, *sides)


def removal(name: str) -> list[Step]:
    """Steps that take a deployed model away; the reference writes its state some time after the first answer."""
    model = f"{ML}/models/<{name}>"
    return [
        Step(f"{name} deployed", "GET", model, until={"model_state": ["DEPLOYED"]}, skip=("planning_worker_nodes",)),
        Step(f"{name} undeployed", "POST", f"{model}/_undeploy", differs="node ids differ"),
        Step(f"{name} deleted", "DELETE", model, until=DELETED),
    ]


def registered(name: str, body: dict[str, Any], **options: Any) -> Step:
    told = {"name": "parity <unique>", "function_name": "remote", **body}
    return Step(name, "POST", f"{ML}/models/_register", told, **options)


TAKEN_BACK = {"model_state": ["UNDEPLOYED", "DEPLOY_FAILED"]}
PLANNED = ("planning_worker_node_count", "planning_worker_nodes")
"""The reference's sync-up may note a model that is being undeployed as failed, and its plan with it."""


async def test_the_life_of_a_remote_model(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"echo": got.body, "list": [1, 2.5, "x"], "none": None}))
    connector = fake_service.connector('{"q": "${parameters.q}", "n": ${parameters.n:-5}}', parameters={"model": "m"})
    made = {"model": "model_id", "task": "task_id"}
    model = f"{ML}/models/<model>"
    steps = [
        create("made", connector, capture={"connector": "connector_id"}),
        registered("no connector", {}),
        registered("an unknown connector", {"connector_id": "nope"}),
        registered("no name", {"name": None, "connector_id": "<connector>"}, differs=LENIENT, status=400),
        registered("an unknown group", {"connector_id": "<connector>", "model_group_id": "nope"}, differs=LENIENT),
        registered("registered", {"connector_id": "<connector>", "description": "x"}, capture=made),
        Step("the task", "GET", f"{ML}/tasks/<task>", until={"state": ["COMPLETED"]}),
        Step("read", "GET", model),
        Step("predicted", "POST", f"{model}/_predict", {"parameters": {"q": 'say "hi"', "n": [1, 2]}}),
        Step("deployed", "GET", model, until={"model_state": ["DEPLOYED"]}, skip=("planning_worker_nodes",)),
        Step("connector in use", "PUT", f"{ML}/connectors/<connector>", {"description": "x"}),
        Step("connector not deleted", "DELETE", f"{ML}/connectors/<connector>"),
        Step("disabled", "PUT", model, {"is_enabled": False}),
        Step("while disabled", "POST", f"{model}/_predict", {"parameters": {"q": "x"}}, until={"status": [403]}),
        Step("enabled", "PUT", model, {"is_enabled": True}),
        Step("undeployed", "POST", f"{model}/_undeploy", differs="node ids differ"),
        Step("taken back", "GET", model, until=TAKEN_BACK, skip=("deploy_to_all_nodes", *TAKEN_BACK, *PLANNED)),
        Step("connector free", "PUT", f"{ML}/connectors/<connector>", {"description": "x"}),
        Step("an inline connector refused", "PUT", model, {"connector": {"description": "x"}}),
        Step("another connector", "PUT", model, {"connector_id": "nope"}, differs=LENIENT, status=404),
        Step("deleted", "DELETE", model),
        Step("connector deleted", "DELETE", f"{ML}/connectors/<connector>"),
    ]
    await play(steps, *sides)


async def test_a_connector_inside_of_a_model(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"key": got.headers.get("X-Key"), "path": got.path}))
    inside = fake_service.connector("{}", action={"headers": {"X-Key": "${credential.key}"}}, description="d")
    model = f"{ML}/models/<model>"
    steps = [
        registered("registered", {"connector": inside}, capture={"model": "model_id"}),
        Step("predicted", "POST", f"{model}/_predict", {"parameters": {}}),
        Step("read", "GET", model, until={"model_state": ["DEPLOYED"]}, skip=("planning_worker_nodes",)),
        Step("two connectors", "PUT", model, {"connector_id": "x", "connector": {}}),
        Step("an id instead", "PUT", model, {"connector_id": "x"}),
        Step("another key", "PUT", model, {"connector": {"credential": {"key": "new"}}}),
        # The reference uses the old key for a while.
        Step("predicted with it", "POST", f"{model}/_predict", {"parameters": {}}, skip=("key",)),
        Step(
            "searched",
            "POST",
            f"{ML}/models/_search",
            {"query": {"term": {"_id": "<model>"}}, "_source": ["connector.name", "connector.credential"]},
        ),
        *removal("model"),
        registered("an untrusted url", {"connector": {**inside, "actions": [{**ACTION, "url": "ftp://x"}]}}),
        registered("a connector without protocol", {"connector": {"name": "x"}}),
        registered("a connector of an unknown protocol", {"connector": {"protocol": "gopher"}}),
        registered("a connector without actions", {"connector": {"protocol": "http"}}),
        registered(
            "a connector that executes only",
            {"connector": {**inside, "actions": [{**inside["actions"][0], "action_type": "execute"}]}},
        ),
        registered(
            "an empty action name",
            {"connector": {**inside, "actions": [{**inside["actions"][0], "name": ""}]}},
        ),
        registered("a connector without keys", {"connector": {"protocol": "aws_sigv4"}}),
        registered("an mcp connector", {"connector": {"protocol": "mcp_sse"}}, differs=LENIENT, status=400),
    ]
    await play(steps, *sides)


ANSWERS = {
    "a mistake": Told({"error": {"message": "bad input"}}, 400),
    "no right": Told({"error": "unauthorized"}, 401),
    "nothing there": Told(b"", 404),
    "broken": Told({"error": "boom"}, 500),
    "elsewhere": Told({}, 302, {"Location": "http://127.0.0.1:1/"}),
    "throttled": Told({}, 429, {"x-amzn-ErrorType": "ThrottlingException"}),
    "too many": Told({"error": "slow down"}, 429),
    "empty": Told(b""),
    "list": Told([1, 2, 3]),
    "text": Told(b'"text"'),
    "number": Told(b"5"),
    "error in an answer": Told({"error": {"message": "quota exceeded"}}),
    "created": Told({"a": 1}, 201),
    "numbers": Told(b'{"a": 1, "b": 1.0, "c": 0.1, "d": 123456789012, "e": [1.5, null, true]}'),
}


async def test_answers_of_the_service(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: ANSWERS.get(got.body["which"], Told(b"no json at all")))
    steps = [
        registered(
            "registered",
            {"connector": fake_service.connector('{"which": "${parameters.which}"}')},
            capture={"model": "model_id"},
        )
    ]
    predict = f"{ML}/models/<model>/_predict"
    steps += [Step(name, "POST", predict, {"parameters": {"which": name}}) for name in ANSWERS]
    steps += [
        Step("no json", "POST", predict, {"parameters": {"which": "x"}}, skip=("reason",)),
        Step("nothing given", "POST", predict, {"parameters": {}}),
        Step("no parameters", "POST", predict, {}),
        Step("no body", "POST", predict),
        Step("an action that there is not", "POST", predict, {"parameters": {}, "action_type": "execute"}),
        Step("a filter", "POST", predict, {"parameters": {"which": "numbers", "response_filter": "$.e"}}),
        Step("a filter of one", "POST", predict, {"parameters": {"which": "numbers", "response_filter": "$.c"}}),
        Step(
            "a filter that finds nothing",
            "POST",
            predict,
            {"parameters": {"which": "numbers", "response_filter": "$.zz"}},
        ),
        *removal("model"),
    ]
    await play(steps, *sides)


PARTS = {"a": {"b": 5}, "l": [{"a": 1}, {"a": 2}], "n": None, "s": "text", "e": [], "b": True}
TEXTS = {
    "object": '{"input": "hi"}',
    "array": '["hi"]',
    "spaces": ' {"a":1} ',
    "deeper": '{"a":{"b":"{\\"c\\":1}"}}',
    "number": "5",
    "null": "null",
    "cut": '{"a":',
    "more": '{"a":1} x',
    "plain": "plain",
}
PATHS = (
    "$", "a.b", "@.a", "$.n", "$['a','zz']", "$.l[-1]", "$.l[0,7]", "$.l[1:]", "$.l[*].zz", "$.l[*].zz.y", "$.s[*]",
    "$.l[?(@.a==1)].a", "$..a", "$..zz", "$..*", "$.zz", "$.l[0].zz", "$.l[5].x", "$.zz.a", "$.zz[0]", "$.zz[*].a",
    "$.zz[?(@.a==1)]", "$.n.x", "$.n[0]", "$.a[0]", "$[0].a", "$.l.x", "$.s.x", "$.a.b.c", "$.b.zz", "$.s[?(@.a==1)]",
    "",
)  # fmt: skip
NOT_RUN = "a path that could take long, or is none, is refused with 400"


async def test_filters(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer({**PARTS, "texts": TEXTS})
    predict = f"{ML}/models/<model>/_predict"
    steps = [registered("registered", {"connector": fake_service.connector("{}")}, capture={"model": "model_id"})]
    paths = [*PATHS, *(f"$.texts.{name}" for name in TEXTS)]
    steps += [Step(path, "POST", predict, {"parameters": {"response_filter": path}}) for path in paths]
    refused = ("$..*..*..*", "$.l[?(@..a == 1)]", "$.l.length()", "$[", "$.")
    steps += [
        Step(path, "POST", predict, {"parameters": {"response_filter": path}}, differs=NOT_RUN, status=400)
        for path in refused
    ]
    steps += removal("model")
    await play(steps, *sides)


RAW = {
    "decimals": b'{"a":0.1234567890123456789012,"b":1.50,"c":100000000000000000000.0,"d":[1E-7,1e22]}',
    "infinite": b'{"b":1e400,"c":[-1e400]}',
    "null": b" null ",
    "text": b'"text"',
    "no text": b'{"b":"\xff"}',
    "constant": b'{"b":NaN}',
    "cut": b'{"a":',
}
EXACT = {"long": b'{"b":12345678901234567890123,"c":[9223372036854775808]}', "half": b'{"b":"\\ud800","\\udc00":1}'}


async def test_answers_to_the_last_digit(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({**RAW, **EXACT}[got.body["which"]]))
    predict = f"{ML}/models/<model>/_predict"
    connector = fake_service.connector('{"which": "${parameters.which}"}')
    steps = [registered("registered", {"connector": connector}, capture={"model": "model_id"})]
    steps += [Step(name, "POST", predict, {"parameters": {"which": name}}, rounded=18) for name in RAW]
    steps += [Step(name, "POST", predict, {"parameters": {"which": name}}) for name in EXACT]
    null = {"parameters": {"which": "null", "response_filter": "$.a"}}
    steps += [Step("a filter of null", "POST", predict, null)]
    text = {"parameters": {"which": "text", "response_filter": "$.a"}}
    steps += [Step("a filter of a text", "POST", predict, text), *removal("model")]
    await play(steps, *sides)


async def test_methods_and_urls(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"method": got.method, "path": got.path, "body": got.body}))
    body = '{"q": "${parameters.q}"}'
    urls = {"path": "/e/${parameters.nosuch}", "query": "/e?q=${parameters.nosuch}", "space": "/a b", "escape": "/a%zz"}
    models = {
        "get": fake_service.connector(body, action={"method": "GET"}),
        "delete": fake_service.connector(body, action={"method": "delete"}),
        **{name: fake_service.connector(body, path=path) for name, path in urls.items()},
        "other": fake_service.connector(body, path="/e?a[0]=${parameters.nosuch:-d}"),
    }
    steps = []
    for name, connector in models.items():
        model = {"connector": connector, "name": f"{name} <unique>"}
        steps.append(registered(f"{name} registered", model, capture={name: "model_id"}))
        steps.append(Step(name, "POST", f"{ML}/models/<{name}>/_predict", {"parameters": {"q": "x"}}))
        steps += removal(name)
    await play(steps, *sides)


UNFIT: dict[str, list[Any]] = {
    "default.embedding": [
        {}, {"a": 1}, [], [1], "x", None, [[1.5, 2]], [["x"]], [[]], [[[1]]], [None], [[1, True]],
    ],
    "openai.embedding": [
        {"x": 1}, {"data": None}, {"data": []}, {"data": [{}]}, {"data": [{"embedding": "x"}]}, [1], None,
        {"data": [{"embedding": [1]}, {}]},
    ],
    "bedrock.nova.embedding": [{}, {"embeddings": [{}]}, {"embeddings": [{"embedding": ["x"]}]}],
    "cohere.embedding": [{}, {"embeddings": None}, {"embeddings": [1]}, {"embeddings": "x"}],
    "cohere_v2.embedding.int8": [{}, {"embeddings": {}}, {"embeddings": {"int8": [[1.5]]}}],
    "default.rerank": [
        {}, {"a": 1}, [1], [[1]], None, [{"a": 1}], [{"index": 0}], [{"index": "0", "relevance_score": 0.5}],
        [{"index": 0, "relevance_score": "x"}],
    ],
    "cohere.rerank": [
        {}, {"results": None}, {"results": {}}, {"results": [1]}, {"results": [{"a": 1}]},
        {"results": [{"index": 3, "relevance_score": 0.5}]}, {"results": [{"index": 0, "relevance_score": 0.5}, 5]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("function", UNFIT)
async def test_answers_that_do_not_fit_a_function(
    sides: tuple[Side, Side], fake_service: FakeService, function: str
) -> None:
    answers, pairs = UNFIT[function], "rerank" in function
    fake_service.answer_by(lambda got: Told(json.dumps(answers[int(got.body["texts"][0])]).encode()))
    before = "cohere.rerank" if pairs else "default.embedding"
    action = {"pre_process_function": f"connector.pre_process.{before}"}
    action["post_process_function"] = f"connector.post_process.{function}"
    template = '{"texts": ${parameters.documents}}' if pairs else '{"texts": ${parameters.input}}'
    connector = fake_service.connector(template, action=action)
    steps = [registered("registered", {"connector": connector}, capture={"model": "model_id"})]
    for number, answer in enumerate(answers):
        body = {"text_docs": [str(number)], **({"query_text": "q"} if pairs else {})}
        path = f"{ML}/_predict/{'text_similarity' if pairs else 'text_embedding'}/<model>"
        steps.append(Step(json.dumps(answer), "POST", path, body))
    await play([*steps, *removal("model")], *sides)


def _embedding(got: Received) -> Told:
    return Told({"data": [{"embedding": [0.25, len(text)]} for text in got.body["input"]]})


def _rerank(got: Received) -> Told:
    scores = [{"index": place, "relevance_score": 0.5 - place / 8} for place in range(len(got.body["documents"]))]
    return Told({"results": scores[::-1]})


async def test_functions_before_and_after(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(_embedding, path="/embed")
    fake_service.answer_by(_rerank, path="/rerank")
    named = "connector.{}_process.{}"
    embed = {"pre_process_function": named.format("pre", "openai.embedding")}
    embed["post_process_function"] = named.format("post", "openai.embedding")
    rerank = {"pre_process_function": named.format("pre", "cohere.rerank")}
    rerank["post_process_function"] = named.format("post", "cohere.rerank")
    pairs = '{"query": "${parameters.query}", "documents": ${parameters.documents}}'
    models = {
        "embed": fake_service.connector('{"input": ${parameters.input}}', path="/embed", action=embed),
        "bare": fake_service.connector('{"input": ${parameters.input}}', path="/embed"),
        "rerank": fake_service.connector(pairs, path="/rerank", action=rerank),
    }
    steps = [
        registered(f"{name} registered", {"connector": body, "name": f"{name} <unique>"}, capture={name: "model_id"})
        for name, body in models.items()
    ]
    texts, query = {"text_docs": ['a "b"\n', "ccc"]}, {"query_text": 'q "x"', "text_docs": ["d1", "d2", "d3"]}
    steps += [
        Step("vectors", "POST", f"{ML}/_predict/text_embedding/<embed>", texts),
        Step("vectors by parameters", "POST", f"{ML}/models/<embed>/_predict", {"parameters": {"input": ["x"]}}),
        Step("texts without the algorithm", "POST", f"{ML}/models/<embed>/_predict", texts),
        Step("texts without functions", "POST", f"{ML}/_predict/text_embedding/<bare>", texts),
        Step("scores", "POST", f"{ML}/_predict/text_similarity/<rerank>", query),
        Step("pairs without functions", "POST", f"{ML}/_predict/text_similarity/<bare>", query),
        Step("pairs to an embedding", "POST", f"{ML}/_predict/text_similarity/<embed>", query),
        Step("texts to a reranker", "POST", f"{ML}/_predict/text_embedding/<rerank>", texts),
        Step("no texts", "POST", f"{ML}/_predict/text_embedding/<embed>", {"text_docs": []}),
        Step("a text that is no JSON", "POST", f"{ML}/models/<bare>/_predict", {"parameters": {"input": "plain text"}}),
    ]
    for name in models:
        steps += removal(name)
    await play(steps, *sides)


async def test_parameters_to_the_last_digit(sides: tuple[Side, Side], fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"text": json.dumps(got.body)}))
    predict = f"{ML}/models/<model>/_predict"
    connector = fake_service.connector('{"q": ${parameters.q}}')
    steps = [registered("registered", {"connector": connector}, capture={"model": "model_id"})]
    numbers = ("9223372036854775808", "12345678901234567890123", "[1,-123456789012345678901234567890]")
    steps += [Step(number, "POST", predict, f'{{"parameters":{{"q":{number}}}}}') for number in numbers]
    await play([*steps, *removal("model")], *sides)
