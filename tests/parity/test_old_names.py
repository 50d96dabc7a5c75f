"""The names of ML Commons 2.4-2.6, and overviews that no other scenario asks for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer
from scenario import ML, Side, Step, ended, play
from tiny_zip import tiny_body, tiny_zip

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

UNUSABLE = "the route refuses its own path parameters in the reference"
SETTLED = {"model_state": ("DEPLOYED", "DEPLOY_FAILED", "PARTIALLY_DEPLOYED")}


def call(name: str, path: str, body: Any = None, **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/{path}", body, **options)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return tiny_zip(tmp_path / "tiny")


async def test_a_models_life_under_old_names(
    sides: tuple[Side, Side], content: bytes, model_server: FileServer
) -> None:
    body = tiny_body(model_server.serve_bytes("old.zip", content), content, name="<unique>")
    several = {"model_ids": ["<model>"]}
    await play(
        [
            call("upload", "models/_upload", body, capture={"task": "task_id"}),
            ended("uploaded", capture={"model": "model_id"}),
            call("upload: no name", "models/_upload", {}),
            call("upload with a version", "models/x/1/_upload", body, differs=UNUSABLE, status=200),
            call("register with a version", "models/x/1/_register", body, differs=UNUSABLE, status=200),
            call("load", "models/<model>/_load", capture={"task": "task_id"}),
            ended("loaded", capture={"node": "worker_node.0"}),
            Step("loaded: state", "GET", f"{ML}/models/<model>", until=SETTLED),
            call("predict", "_predict/text_embedding/<model>", {"text_docs": ["a"]}),
            Step("profile of models", "GET", f"{ML}/profile/models?filter_path=nope"),
            Step("profile of tasks", "GET", f"{ML}/profile/tasks?filter_path=nope"),
            Step("stats of a node", "GET", f"{ML}/nonode/stats?filter_path=nope"),
            call("unload", "models/<model>/_unload"),
            call("unload several", "models/_unload", several),
            call("unload none", "models/_unload", {}),
            call("load unknown", "models/nope/_load"),
            call("unload unknown", "models/nope/_unload"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until={"result": ("deleted",)}),
            Step("gone", "GET", f"{ML}/models/<model>"),
        ],
        *sides,
    )


async def test_chunks_under_old_names(sides: tuple[Side, Side], content: bytes) -> None:
    body = tiny_body("", content, name="<unique>")
    meta = {name: value for name, value in body.items() if name != "url"}
    meta |= {"total_chunks": 1, "model_content_hash_value": hashlib.sha256(content).hexdigest()}
    await play(
        [
            call("meta", "models/meta", meta, capture={"model": "model_id"}),
            call("meta: nothing", "models/meta", {}),
            call("chunk", "models/<model>/chunk/0", content),
            Step(
                "registered",
                "GET",
                f"{ML}/models/<model>?filter_path=name,model_state",
                until={"model_state": ("REGISTERED",)},
            ),
            Step("delete", "DELETE", f"{ML}/models/<model>"),
        ],
        *sides,
    )


async def test_configuration(sides: tuple[Side, Side]) -> None:
    await play(
        [
            Step("the master key", "GET", f"{ML}/config/master_key"),
            Step("unknown configuration", "GET", f"{ML}/config/nope"),
            Step("configuration, wrong method", "POST", f"{ML}/config/nope"),
            Step("configuration without an id", "GET", f"{ML}/config"),
        ],
        *sides,
    )
