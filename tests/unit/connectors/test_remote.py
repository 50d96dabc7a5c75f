"""Remote models against a fake service: what is sent, what comes back, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from fake_service import FakeService, Received, Told

from bridge.connectors.catalog import Connectors
from bridge.connectors.http_call import HttpCaller
from bridge.connectors.remote import RemoteInference
from bridge.connectors.secret_box import SecretBox
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.connector import Connector
from bridge.domain.model import Model
from bridge.domain.names import FunctionName
from bridge.domain.tensor import MLInput, RemoteInput, TextDocsInput, TextSimilarityInput
from bridge.errors import BridgeError, NotFound, TooManyRequests, error_body, status_of
from bridge.store.documents import Stored, Version
from bridge.store.in_memory import InMemoryDocuments

OPEN = ClusterSettings(connector_private_ip_enabled=True, trusted_connector_endpoints_regex=(r"^https?://.*$",))
EMBEDDING = {
    "pre_process_function": "connector.pre_process.openai.embedding",
    "post_process_function": "connector.post_process.openai.embedding",
}


class Remote:
    """The parts of a bridge that remote models need, and one model."""

    def __init__(self) -> None:
        self.settings = FixedSettings(OPEN)
        self.http = HttpCaller(self.settings, max_answer_bytes=1000)
        models: InMemoryDocuments[Model] = InMemoryDocuments(Model)
        box = SecretBox([b"k" * 32])
        documents: InMemoryDocuments[Connector] = InMemoryDocuments(Connector)
        self.connectors = Connectors(connectors=documents, models=models, box=box, settings=self.settings)
        self.inference = RemoteInference(self.connectors, self.http, self.settings)
        self.connector_id = ""

    async def connect(self, body: dict[str, Any]) -> None:
        self.connector_id = await self.connectors.create(body)

    async def predict(self, input: MLInput, deadline: float = 10.0) -> Any:
        model = Model(name="m", algorithm=FunctionName.REMOTE, connector_id=self.connector_id)
        stored = Stored("model-id", model, Version(1, 1))
        return (await self.inference.predict(stored, input, deadline=deadline)).inference_results

    async def refused(self, input: MLInput, deadline: float = 10.0) -> tuple[int, str, str]:
        with pytest.raises(BridgeError) as refused:
            await self.predict(input, deadline)
        error = error_body(refused.value)["error"]
        return status_of(refused.value), error["type"], error["reason"]


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    made = Remote()
    yield made
    await made.http.close()


def asked(**parameters: Any) -> RemoteInput:
    return RemoteInput(parameters=parameters)


async def test_a_call_carries_body_headers_and_credential(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer({"answer": 1.5})
    headers = {"Authorization": "Bearer ${credential.key}", "X-P": "${parameters.model}"}
    body = fake_service.connector(
        '{"q": "${parameters.q}", "m": "${parameters.model}"}', parameters={"model": "m1"}, action={"headers": headers}
    )
    await remote.connect(body)
    (result,) = await remote.predict(asked(q='say "hi"'))
    assert (result.status_code, result.output[0].name) == (200, "response")
    assert result.output[0].data_as_map == {"answer": 1.5}
    (received,) = fake_service.received
    assert received.body == {"q": 'say "hi"', "m": "m1"}
    assert received.headers["Authorization"] == "Bearer secret"
    assert received.headers["X-P"] == "m1"
    assert received.headers["Content-Type"] == "application/json"
    assert "User-Agent" not in received.headers


@pytest.mark.parametrize(
    ("told", "status", "kind", "reason"),
    [
        (Told({"error": "boom"}, 500), 500, "status_exception", 'Error from remote service: {"error": "boom"}'),
        (Told({"error": "no"}, 401), 401, "status_exception", 'Error from remote service: {"error": "no"}'),
        (Told(b"", 404), 404, "status_exception", "Remote service returned error status 404 with empty body"),
        (Told({}, 302, {"Location": "/elsewhere"}), 302, "status_exception", "Error from remote service: {}"),
        (Told(b""), 502, "status_exception", "Remote service returned empty response body"),
        (Told(b"this is no json"), 400, "illegal_argument_exception", "Invalid JSON format: "),
        (Told(b'{"a": '), 400, "illegal_argument_exception", "Invalid JSON format: "),
        (Told(b'"text"'), 400, "illegal_argument_exception", "Unsupported response type"),
        (Told(b"[" + b" " * 2000 + b"]"), 502, "status_exception", "Remote service returned more than 1000 bytes"),
        (
            Told({}, 429, {"x-amzn-ErrorType": "ThrottlingException:http://x"}),
            429,
            "remote_connector_throttling_exception",
            "Error from remote service: The request was denied due to remote server throttling.",
        ),
    ],
)
async def test_failures_of_the_service(
    remote: Remote, fake_service: FakeService, told: Told, status: int, kind: str, reason: str
) -> None:
    fake_service.answer_by(lambda _: told)
    await remote.connect(fake_service.connector('{"q": "${parameters.q}"}'))
    found = await remote.refused(asked(q="x"))
    assert found[:2] == (status, kind)
    assert found[2].startswith(reason)
    assert len(fake_service.received) == 1


async def test_a_slow_service_and_a_closed_port(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer({}, seconds=3)
    await remote.connect(fake_service.connector("{}", client_config={"read_timeout": 1}))
    slow = (500, "status_exception", "Error communicating with remote model: Read timed out")
    assert await remote.refused(asked()) == slow
    assert await remote.refused(asked(), deadline=0.2) == slow
    closed = fake_service.connector("{}")
    closed["actions"][0]["url"] = "http://127.0.0.1:9/x"
    await remote.connect(closed)
    reason = "Error communicating with remote model: Connection refused: /127.0.0.1:9"
    assert await remote.refused(asked()) == (500, "status_exception", reason)


async def test_throttling_is_tried_again_as_configured(remote: Remote, fake_service: FakeService) -> None:
    def third_time(_: Received) -> Told:
        throttled = Told({}, 429, {"x-amzn-ErrorType": "ThrottlingException"})
        return throttled if len(fake_service.received) < 3 else Told({"ok": True})

    fake_service.answer_by(third_time)
    policy = {"max_retry_times": 5, "retry_backoff_policy": "exponential_full_jitter", "retry_backoff_millis": 10}
    await remote.connect(fake_service.connector("{}", client_config=policy))
    (result,) = await remote.predict(asked())
    assert result.output[0].data_as_map == {"ok": True}
    fake_service.answer({}, status=429)
    fake_service.received.clear()
    assert (await remote.refused(asked()))[0] == 429
    assert len(fake_service.received) == 1


async def test_where_a_connector_may_not_go(remote: Remote, fake_service: FakeService) -> None:
    await remote.connect(fake_service.connector("{}"))
    remote.settings.current = replace(OPEN, connector_private_ip_enabled=False)
    private = "Remote inference host name has private ip address: "
    assert await remote.refused(asked()) == (400, "illegal_argument_exception", private + "127.0.0.1")
    for host in ("localhost", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]"):
        body = fake_service.connector("{}")
        body["actions"][0]["url"] = f"http://{host}:{fake_service.url.rpartition(':')[2]}/x"
        await remote.connect(body)
        status, _, reason = await remote.refused(asked())
        assert (status, reason.startswith(private)) == (400, True), host
    for host in ("127.1", "2130706433", "017700000001"):
        body["actions"][0]["url"] = f"http://{host}/x"
        await remote.connect(body)
        assert (await remote.refused(asked()))[2] == f"{host}: Name or service not known"
    assert not fake_service.received


async def test_a_request_cannot_lead_a_url_elsewhere(remote: Remote, fake_service: FakeService) -> None:
    body = fake_service.connector("{}", parameters={"host": fake_service.url.removeprefix("http://")})
    body["actions"][0]["url"] = "http://${parameters.host}/x?q=${parameters.q:-1}"
    remote.settings.current = replace(OPEN, trusted_connector_endpoints_regex=(r"^http://127\.0\.0\.1:\d+/.*$",))
    await remote.connect(body)
    await remote.predict(asked(q="a&b=c#d"))
    assert fake_service.received[0].path == "/x?q=a%26b%3Dc%23d"
    untrusted = "Connector URL is not matching the trusted connector endpoint regex"
    assert (await remote.refused(asked(host="evil.example")))[2] == untrusted
    assert (await remote.refused(asked(host="evil.example/", no_escape_params="host")))[2] == untrusted


async def test_texts_become_vectors(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"data": [{"embedding": [0.1, len(text)]} for text in got.body["input"]]}))
    await remote.connect(fake_service.connector('{"input": ${parameters.input}}', action=EMBEDDING))
    (result,) = await remote.predict(TextDocsInput(text_docs=('a "b"', "c")))
    assert [(one.name, one.data_type, one.shape) for one in result.output] == [
        ("sentence_embedding", "FLOAT32", (2,)),
        ("sentence_embedding", "FLOAT32", (2,)),
    ]
    assert [list(one.data) for one in result.output] == [[0.1, 5.0], [0.1, 1.0]]
    assert fake_service.bodies() == [{"input": ['a "b"', "c"]}]


async def test_texts_are_cut_into_calls(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer_by(lambda got: Told({"data": [{"embedding": [len(text)]} for text in got.body["input"]]}))
    steps = {"parameters": {"input_docs_processed_step_size": "2"}}
    await remote.connect(fake_service.connector('{"input": ${parameters.input}}', action=EMBEDDING, **steps))
    results = await remote.predict(TextDocsInput(text_docs=("a", "bb", "ccc")))
    assert [[float(one.data[0]) for one in result.output] for result in results] == [[1.0, 2.0], [3.0]]
    steps["parameters"]["input_docs_processed_step_size"] = "0"
    await remote.connect(fake_service.connector('{"input": ${parameters.input}}', action=EMBEDDING, **steps))
    reason = "Invalid parameter: input_docs_processed_step_size. It must be positive integer."
    assert (await remote.refused(TextDocsInput(text_docs=("a",))))[2] == reason


async def test_pairs_become_scores_in_the_order_of_the_documents(remote: Remote, fake_service: FakeService) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    fake_service.answer({"results": results})
    functions = {
        "pre_process_function": "connector.pre_process.cohere.rerank",
        "post_process_function": "connector.post_process.cohere.rerank",
    }
    template = '{"query": "${parameters.query}", "documents": ${parameters.documents}, "top_n": ${parameters.top_n}}'
    await remote.connect(fake_service.connector(template, action=functions))
    (result,) = await remote.predict(TextSimilarityInput(query_text='q "x"', text_docs=("d1", "d2")))
    assert [(one.name, float(one.data[0])) for one in result.output] == [("similarity", 0.2), ("similarity", 0.9)]
    assert fake_service.bodies() == [{"query": 'q "x"', "documents": ["d1", "d2"], "top_n": 2}]
    assert (await remote.refused(TextDocsInput(text_docs=("a",))))[2].endswith("TextSimilarityInputDataSet")


async def test_inputs_that_need_a_function(remote: Remote, fake_service: FakeService) -> None:
    await remote.connect(fake_service.connector('{"input": ${parameters.input}}'))
    fake_service.answer([1, 2])
    (result,) = await remote.predict(TextDocsInput(text_docs=("a",)))
    assert result.output[0].data_as_map == {"response": [1, 2]}
    reason = (await remote.refused(TextSimilarityInput(query_text="q", text_docs=("a",))))[2]
    assert reason == "pre_process_function not defined in connector"


async def test_a_filter_picks_from_the_answer(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer({"parsed": {"input": "abc"}, "list": [{"a": 1}, {"a": 2}], "n": 5})
    await remote.connect(fake_service.connector("{}"))
    for path, expected in (
        ("$.parsed", {"input": "abc"}),
        ("$.list[*].a", {"response": [1, 2]}),
        ("$.list[1].a", {"response": 2}),
        ("$.n", {"response": 5}),
    ):
        (result,) = await remote.predict(asked(response_filter=path))
        assert result.output[0].data_as_map == expected
    status, kind, _ = await remote.refused(asked(response_filter="$.nothing.here"))
    assert (status, kind) == (500, "m_l_exception")
    for wrong in ("$[", "$.list[?(@.a =~ '(x+)+y')]", "$.n.length()"):
        assert (await remote.refused(asked(response_filter=wrong)))[0] == 400


async def test_actions(remote: Remote, fake_service: FakeService) -> None:
    await remote.connect(fake_service.connector("{}", action={"action_type": "execute"}))
    assert (await remote.refused(asked()))[2] == "no PREDICT action found"
    await remote.predict(RemoteInput(parameters={}, action_type="execute"))
    for wrong, reason in (("zzz", "No enum constant"), ("batch_predict", "no BATCH_PREDICT action found")):
        assert (await remote.refused(RemoteInput(parameters={}, action_type=wrong)))[2].startswith(reason)


async def test_methods_and_bodies(remote: Remote, fake_service: FakeService) -> None:
    await remote.connect(fake_service.connector(None, action={"method": "GET"}, path="/thing?q=${parameters.q}"))
    await remote.predict(asked(q="abc"))
    assert (fake_service.received[0].method, fake_service.received[0].path) == ("GET", "/thing?q=abc")
    await remote.connect(fake_service.connector(None))
    assert (await remote.refused(asked()))[2] == "Content length is 0. Aborting request to remote model"
    await remote.predict(asked(http_body='{"raw": 1}'))
    assert fake_service.bodies()[-1] == {"raw": 1}
    await remote.connect(fake_service.connector("{}", action={"method": "PATCH"}))
    assert (await remote.refused(asked()))[2] == "unsupported http method"
    for method in ("GET", "delete"):
        await remote.connect(fake_service.connector('{"q": "${parameters.q}"}', action={"method": method}))
        await remote.predict(asked(q="abc"))
        assert (fake_service.received[-1].method, fake_service.bodies()[-1]) == (method.upper(), {"q": "abc"})


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("{}/e/${{parameters.nosuch}}", "Illegal character in path at index {}: {}"),
        ("{}/e?q=${{parameters.nosuch}}", "Illegal character in query at index {}: {}"),
        ("{}/e#${{x}}", "Illegal character in fragment at index {}: {}"),
        ("{}/e/${{credential.key}}", "Illegal character in path at index {}: {}"),
        ("{}${{parameters.nosuch}}/e", "Illegal character in authority at index {}: {}"),
    ],
)
async def test_a_url_with_an_unfilled_placeholder_is_not_called(
    remote: Remote, fake_service: FakeService, url: str, problem: str
) -> None:
    url = url.format(fake_service.url)
    await remote.connect(fake_service.connector("{}", action={"url": url}))
    with pytest.raises(BridgeError) as refused:
        await remote.predict(asked())
    error = error_body(refused.value)["error"]
    assert error["reason"].startswith("Encountered error when trying to create uri from endpoint in ml connector.")
    reason = problem.format(url.index("{"), url)
    cause = {"type": "u_r_i_syntax_exception", "reason": reason}
    assert error["caused_by"] == {"type": "illegal_argument_exception", "reason": reason, "caused_by": cause}
    assert not fake_service.received


@pytest.mark.parametrize(
    ("path", "problem"),
    [("/x y", "Illegal character in path"), ("/x[0]", "Illegal character in path"), ("/x%zz", "Malformed escape pair")],
)
async def test_what_no_url_holds(remote: Remote, fake_service: FakeService, path: str, problem: str) -> None:
    await remote.connect(fake_service.connector("{}", path=path))
    with pytest.raises(BridgeError) as refused:
        await remote.predict(asked())
    told = error_body(refused.value)["error"]["caused_by"]["reason"]
    assert told == f"{problem} at index {len(fake_service.url) + 2}: {fake_service.url}{path}"
    await remote.connect(fake_service.connector("{}", path="/x?a[0]=1&b=%20"))
    await remote.predict(asked())


async def test_connections_of_a_connector_are_shared_out(remote: Remote, fake_service: FakeService) -> None:
    fake_service.answer({}, seconds=0.05)
    await remote.connect(fake_service.connector("{}", client_config={"max_connection": 2}))
    calls = [remote.predict(asked()) for _ in range(50)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, TooManyRequests)]
    assert (len(refused), len(fake_service.received)) == (8, 42)


async def test_switches_and_missing_connectors(remote: Remote, fake_service: FakeService) -> None:
    await remote.connect(fake_service.connector("{}"))
    remote.settings.current = replace(OPEN, remote_inference_enabled=False)
    assert (await remote.refused(asked()))[2].startswith("Remote Inference is currently disabled.")
    remote.settings.current = OPEN
    remote.connector_id = "gone"
    with pytest.raises(NotFound, match="Failed to find connector:gone"):
        await remote.predict(asked())


async def test_header_values_cannot_start_a_header(remote: Remote, fake_service: FakeService) -> None:
    body = fake_service.connector("{}", action={"headers": {"X": "${credential.key}"}}, credential={"key": "a\r\nB: c"})
    await remote.connect(body)
    assert (await remote.refused(asked()))[0] == 400
    assert not fake_service.received
