"""What the command line does when a bridge hesitates, refuses or is not there."""

from __future__ import annotations

import asyncio
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from bridge.cli import bridge_client, cli, doctor, model_register, pack

Answer = Callable[[web.Request], web.Response]


class Bridge:
    """A bridge that answers what it is told, in a thread of its own."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.raw_path, request.headers.get("Authorization", "")))
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(request)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridge]:
    monkeypatch.setattr(bridge_client, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(bridge_client, "LONGEST_PAUSE", 0.02)
    made = Bridge()
    yield made
    made.close()


def task(state: str, **fields: object) -> Answer:
    return lambda _: web.json_response({"state": state, **fields})


def refusal(status: int, reason: str = "no") -> Answer:
    return lambda _: web.json_response({"error": {"reason": reason}, "status": status}, status=status)


def run(bridge: Bridge, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--bridge", bridge.url], env={"BRIDGE_USER": "", "BRIDGE_PASSWORD": ""})


def test_a_task_is_watched_to_its_end(bridge: Bridge) -> None:
    bridge.answers = [task("CREATED"), task("RUNNING", progress=0.5), task("COMPLETED", model_id="m1")]
    done = run(bridge, "task", "watch", "t1")
    assert (done.exit_code, done.stdout) == (0, "state: COMPLETED\nmodel_id: m1\n")
    assert done.stderr == "CREATED\nRUNNING 50%\nCOMPLETED\n"
    assert {path for _, path, _ in bridge.asked} == {"/_plugins/_ml/tasks/t1"}


def test_a_failed_task_is_exit_code_1_with_its_reason(bridge: Bridge) -> None:
    bridge.answers = [task("FAILED", error="model content changed")]
    done = run(bridge, "task", "watch", "t1")
    assert done.exit_code == 1
    assert "error: model content changed" in done.stdout


def test_a_task_that_takes_too_long(bridge: Bridge) -> None:
    bridge.answers = [task("RUNNING")]
    done = run(bridge, "task", "watch", "t1", "--timeout", "0.05")
    assert (done.exit_code, "still RUNNING" in done.stderr) == (1, True)


def test_a_bridge_that_is_busy_is_asked_again(bridge: Bridge) -> None:
    bridge.answers = [refusal(503), refusal(429), lambda _: web.json_response({"hits": {"hits": []}})]
    done = run(bridge, "model", "list", "--json")
    assert (done.exit_code, done.stdout) == (0, "[]\n")
    assert len(bridge.asked) == 3


def test_a_bridge_that_stays_busy_is_exit_code_3(bridge: Bridge) -> None:
    bridge.answers = [refusal(503, "the cluster is away")]
    done = run(bridge, "model", "list")
    assert (done.exit_code, "the cluster is away" in done.stderr) == (3, True)
    assert len(bridge.asked) == bridge_client.TRIES


def test_a_deletion_is_not_repeated_when_its_answer_was_cut(bridge: Bridge) -> None:
    bridge.answers = [refusal(502)]
    assert run(bridge, "model", "delete", "m1").exit_code == 1
    assert [method for method, _, _ in bridge.asked] == ["DELETE"]


@pytest.mark.parametrize(
    ("words", "header"),
    [
        (("--user", "u", "--password", "p"), "Basic dTpw"),
        (("--token", "secret"), "Bearer secret"),
        ((), ""),
    ],
)
def test_who_asks(bridge: Bridge, words: tuple[str, ...], header: str) -> None:
    bridge.answers = [lambda _: web.json_response({"hits": {"hits": []}})]
    assert run(bridge, "model", "list", *words).exit_code == 0
    assert bridge.asked[0][2] == header


def test_a_password_from_a_file(bridge: Bridge, tmp_path: Path) -> None:
    bridge.answers = [lambda _: web.Response(text="Unauthorized", status=401)]
    (tmp_path / "password").write_text("p\n")
    done = run(bridge, "model", "list", "--user", "u", "--password-file", str(tmp_path / "password"))
    assert (done.exit_code, "Unauthorized" in done.stderr) == (1, True)
    assert bridge.asked[0][2] == "Basic dTpw"


def test_what_a_predict_says_in_one_line_each(bridge: Bridge) -> None:
    results = [
        {"output": [{"name": "input_ids", "data": [1]}, {"name": "sentence_embedding", "data": [0.5, 1.0]}]},
        {"output": [{"dataAsMap": {"response": [{"a": 1.0}]}}]},
        {"output": [{"result": "an answer"}]},
    ]
    bridge.answers = [lambda _: web.json_response({"inference_results": results})]
    done = run(bridge, "model", "predict", "m1", "a", "b", "c")
    assert done.stdout.splitlines() == ["[0.5, 1.0]", '{"response": [{"a": 1.0}]}', '"an answer"']


@pytest.mark.parametrize(
    ("model_id", "segment"),
    [
        ("../connectors/c", "..%2Fconnectors%2Fc"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("%2e%2e", "%252e%252e"),
        ("ü", "%C3%BC"),
    ],
)
def test_an_id_stays_one_segment_of_the_path(bridge: Bridge, model_id: str, segment: str) -> None:
    bridge.answers = [lambda _: web.json_response({"task_id": model_id, "inference_results": [], "state": "COMPLETED"})]
    for words in (("delete", model_id), ("deploy", model_id), ("predict", model_id, "text")):
        assert run(bridge, "model", *words).exit_code == 0
    assert run(bridge, "task", "watch", model_id).exit_code == 0
    models, tasks = f"/_plugins/_ml/models/{segment}", f"/_plugins/_ml/tasks/{segment}"
    assert [path for _, path, _ in bridge.asked] == [models, f"{models}/_deploy", tasks, f"{models}/_predict", tasks]


@pytest.mark.parametrize("no_id", ["", " ", ".", ".."])
@pytest.mark.parametrize(
    "words",
    [("model", "delete", "m1"), ("model", "undeploy"), ("model", "deploy"), ("model", "predict"), ("task", "watch")],
)
def test_what_cannot_be_an_id_is_wrong_usage(bridge: Bridge, words: tuple[str, ...], no_id: str) -> None:
    done = run(bridge, *words, no_id)
    assert (done.exit_code, "cannot be an id" in done.stderr, bridge.asked) == (2, True, [])


@pytest.mark.parametrize(
    "address",
    [
        "foo",
        "",
        "http://",
        "ftp://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://h:x",
        "http://h:0",
        "http://a b",
        "http://h?q=1",
    ],
)
def test_what_is_no_address_is_wrong_usage(address: str) -> None:
    done = CliRunner().invoke(cli, ["model", "list", "--bridge", address])
    assert (done.exit_code, "--bridge" in done.stderr, "takes a URL such as" in done.stderr) == (2, True, True)


@pytest.mark.parametrize("status", [200, 400, 404, 500])
@pytest.mark.parametrize("text", ["<html>\n<body>Welcome</body></html>", "[]", "one\ntwo", ""])
def test_a_server_that_is_no_bridge_is_named_in_one_line(bridge: Bridge, status: int, text: str) -> None:
    bridge.answers = [lambda _: web.Response(text=text, content_type="text/html", status=status)]
    done = run(bridge, "model", "list")
    assert done.exit_code == 3
    assert done.stderr.startswith(f"Error: {bridge.url} is no bridge: it answers POST /_plugins/_ml/models/_search")
    assert (done.stderr.count("\n"), "<" in done.stderr) == (1, False)


def test_a_stranger_that_speaks_json_is_named_too(bridge: Bridge) -> None:
    bridge.answers = [lambda _: web.json_response({"status": "fine"})]
    done = run(bridge, "model", "list")
    assert (done.exit_code, done.stderr) == (
        3,
        f"Error: {bridge.url} is no bridge: its answer lacks 'hits'; check --bridge\n",
    )


def test_pages_of_a_gateway_are_not_shown(bridge: Bridge) -> None:
    bridge.answers = [lambda _: web.Response(text="<html>Bad Gateway</html>", content_type="text/html", status=502)]
    done = run(bridge, "model", "list")
    assert (done.exit_code, done.stderr) == (3, f"Error: {bridge.url}: status 502: no reason given\n")


def test_no_progress_is_drawn_where_nobody_looks(bridge: Bridge, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("model.onnx", b"x")
    found = {"hits": {"hits": []}, "model_id": "m1", "model_state": "REGISTERED"}
    bridge.answers = [lambda _: web.json_response(found)]
    done = run(bridge, "model", "register", str(tmp_path / "m.zip"))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "model_id: m1\nstate: REGISTERED\n", "")


def test_ctrl_c_is_130_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "m.zip").write_bytes(b"x")
    monkeypatch.setattr(model_register, "_format_of", interrupted)
    monkeypatch.setattr(pack.huggingface, "read", interrupted)
    monkeypatch.setattr(doctor, "_report", interrupted)
    monkeypatch.setattr(bridge_client, "_client", interrupted)
    folder = str(tmp_path)
    for words in (["model", "register", f"{folder}/m.zip"], ["pack", folder], ["doctor"], ["model", "list"]):
        done = CliRunner().invoke(cli, words)
        assert (done.exit_code, done.stderr) == (130, "interrupted\n"), words
