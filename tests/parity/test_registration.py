"""Registering, uploading, updating and deleting models, step by step beside the real ML Commons."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from fake_inference import register_body, zipped
from file_server import FileServer
from scenario import DELETED, ML, Side, Step, ended, play

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]
SEARCH = f"{ML}/models/_search"
REGISTER, META = f"{ML}/models/_register", f"{ML}/models/_register_meta"
CONTENT = zipped({"model.onnx": b"graph", "tokenizer.json": b"{}"})
PIECES = (CONTENT[:50], CONTENT[50:])
BASE = register_body("http://127.0.0.1:9/x.zip", b"x", name="<unique>")
META_BODY: dict[str, Any] = {
    "name": "<unique>",
    "function_name": "TEXT_EMBEDDING",
    "model_format": "ONNX",
    "model_content_hash_value": hashlib.sha256(CONTENT).hexdigest(),
    "model_content_size_in_bytes": len(CONTENT),
    "total_chunks": 2,
    "model_config": BASE["model_config"],
}


def config(**changes: Any) -> dict[str, Any]:
    return {
        "name": "<unique>",
        "function_name": "text_embedding",
        "model_format": "ONNX",
        "url": "http://127.0.0.1:9/x.zip",
        "model_config": {**BASE["model_config"], **changes},
    }


REFUSED: dict[str, Any] = {
    "a limiter that is no object": {**BASE, "rate_limiter": 5},
    "a limit that is no number": {**BASE, "rate_limiter": {"limit": "x"}},
    "a negative limit": {**BASE, "rate_limiter": {"limit": -1}},
    "a unit in lower case": {**BASE, "rate_limiter": {"limit": 1, "unit": "minutes"}},
    "a deploy setting that is no object": {**BASE, "deploy_setting": "x"},
    "an auto deploy that is no boolean": {**BASE, "deploy_setting": {"is_auto_deploy_enabled": "x"}},
    "a time to live that is no number": {**BASE, "deploy_setting": {"model_ttl_minutes": "x"}},
    "guardrails of no type": {**BASE, "guardrails": {"type": "foo"}},
    "guardrails that are no object": {**BASE, "guardrails": 5},
    "nodes that are no list": {**BASE, "model_node_ids": "x"},
    "is_enabled that is no boolean": {**BASE, "is_enabled": "x"},
    "a config that is no object": {**config(), "model_config": 5},
    "a dimension that is no number": config(embedding_dimension="x"),
    "a key in both configs": config(all_config='{"a":1}', additional_config={"a": 2}),
    "an unknown pooling": config(pooling_mode="weird"),
    "an answering model without framework": {
        **config(), "function_name": "question_answering", "model_config": {"model_type": "bert"},
    },
    "a similarity model without type": {
        **config(), "function_name": "text_similarity", "model_config": {"embedding_dimension": 3},
    },
}  # fmt: skip


async def test_refused_registrations(sides: tuple[Side, Side]) -> None:
    steps = [Step(name, "POST", REGISTER, body) for name, body in REFUSED.items()]
    steps += [
        Step("deploy that is no boolean", "POST", f"{REGISTER}?deploy=foo", BASE),
        Step("old route with a version", "POST", f"{ML}/models/x/1/_upload", {"name": "x"}),
        Step(
            "an interface that is no schema", "POST", REGISTER, {**BASE, "interface": {"input": "not JSON"}},
            differs="ML Commons takes it and refuses every predict", status=400,
        ),
        Step(
            "a name that is an object", "POST", REGISTER, {**BASE, "name": {"a": 1}},
            differs="500 for a client's mistake", status=400,
        ),
        Step(
            "a function that is not run here", "POST", REGISTER, {"name": "<unique>", "function_name": "kmeans",
            "model_format": "ONNX"}, differs="the bridge says at once what it does not run", status=400,
        ),
    ]  # fmt: skip
    await play(steps, *sides)


async def test_the_fields_of_a_registration(sides: tuple[Side, Side], model_server: FileServer) -> None:
    url = model_server.serve_bytes("model.zip", CONTENT)
    body = register_body(url, CONTENT, name="<unique>", function_name="text_embedding") | {
        "rate_limiter": {"limit": 3, "unit": "MINUTES"},
        "is_enabled": True,
        "deploy_setting": {"is_auto_deploy_enabled": False},
        "interface": {"input": {"type": "object"}, "output": {"type": "object"}, "other": 1},
        "guardrails": {"input_guardrail": {"regex": ["x.*"]}},
        "model_node_ids": ["nobody"],
        "access_mode": "unheard of",
        "bogus": {"a": 1},
    }
    body["model_config"] = {
        "normalize_result": False, "pooling_mode": "mean", "query_prefix": "q: ", **body["model_config"],
        "additional_config": {"space_type": "l2"}, "all_config": "{}", "model_max_length": "17",
    }  # fmt: skip
    # ML Commons copies these into every chunk, where nobody reads them.
    models = {
        "bool": {
            "must": [{"term": {"name.keyword": "<unique>"}}],
            "must_not": [{"exists": {"field": "chunk_number"}}],
        }
    }
    copied = ("is_enabled", "rate_limiter", "guardrails", "interface")
    await play(
        [
            Step("register", "POST", REGISTER, body, capture={"task": "task_id"}),
            ended("registered", capture={"model": "model_id"}),
            Step("read", "GET", f"{ML}/models/<model>"),
            Step("a chunk", "GET", f"{ML}/models/<model>_0", skip=copied),
            Step("a chunk's content", "GET", f"{ML}/models/<model>_0?return_content=true", skip=copied),
            Step("no such chunk", "GET", f"{ML}/models/<model>_1"),
            Step("search", "POST", SEARCH, {"query": models}, unordered=True),
            Step("search some fields", "POST", SEARCH, {"query": models, "_source": ["name"]}),
            Step(
                "search chunks with content",
                "POST",
                SEARCH,
                {"query": {"term": {"model_id": "<model>"}}, "_source": ["model_content", "chunk_number"]},
                unordered=True,
            ),
            Step("a bad query", "POST", SEARCH, {"query": {"nope": {}}}),
            Step(
                "search without a word of chunks",
                "POST",
                SEARCH,
                {"query": {"term": {"name.keyword": "<unique>"}}},
                differs="the bridge answers models, ML Commons their chunks, too",
                status=200,
            ),
            Step("again", "POST", REGISTER, body, capture={"task": "task_id"}),
            ended("registered again", capture={"second": "model_id"}),
            Step("the second version", "GET", f"{ML}/models/<second>"),
            Step("delete", "DELETE", f"{ML}/models/<second>", until=DELETED),
            Step("delete the first", "DELETE", f"{ML}/models/<model>", until=DELETED),
            Step("read what is gone", "GET", f"{ML}/models/<model>"),
        ],
        *sides,
    )


async def test_updates(sides: tuple[Side, Side], model_server: FileServer) -> None:
    url = model_server.serve_bytes("model.zip", CONTENT)
    body = register_body(url, CONTENT, name="<unique>")
    put = f"{ML}/models/<model>"
    changes: list[tuple[str, Any]] = [
        ("nothing", {}),
        ("texts", {"name": "<unique> renamed", "description": "new", "is_enabled": False}),
        ("bad name", {"name": "a<b>"}),
        ("bad description", {"description": "a<b>"}),
        ("what nobody may set", {"version": "9", "model_state": "DEPLOYED", "url": "x"}),
        ("a limiter", {"rate_limiter": {"limit": "100", "unit": "MINUTES"}}),
        ("a part of a limiter", {"rate_limiter": {"unit": "HOURS"}}),
        ("bad unit", {"rate_limiter": {"limit": "1", "unit": "FORTNIGHT"}}),
        ("bad limit", {"rate_limiter": {"limit": "abc", "unit": "MINUTES"}}),
        ("bad switch", {"is_enabled": "maybe"}),
        ("a time to live", {"deploy_setting": {"model_ttl_minutes": 5}}),
        ("auto deploy, time to live back", {"deploy_setting": {"is_auto_deploy_enabled": False}}),
        ("config without type", {"model_config": {"pooling_mode": "CLS"}}),
        ("config", {"model_config": {"model_type": "x", "pooling_mode": "cls", "additional_config": {"a": {"b": 1}}}}),
        ("config, deep", {"model_config": {"model_type": "x", "additional_config": {"a": {"c": 2}}}}),
        ("interface", {"interface": {"input": {"type": "object"}}}),
        ("the other interface", {"interface": {"output": {"type": "object"}}}),
        ("guardrails", {"guardrails": {"input_guardrail": {"regex": ["a"]}}}),
        ("no such group", {"model_group_id": "nope"}),
        ("an empty group", {"model_group_id": ""}),
        ("another group", {"model_group_id": "<other>"}),
        ("connector id", {"connector_id": "x"}),
        ("connector", {"connector": {"description": "x"}}),
        ("both connectors", {"connector_id": "x", "connector": {"description": "x"}}),
        ("a limiter that is none", {"rate_limiter": "x"}),
        ("a list", "[]"),
        ("no body", None),
    ]
    steps = [
        Step("register", "POST", REGISTER, body, capture={"task": "task_id"}),
        ended("registered", capture={"model": "model_id"}),
        Step("a group", "POST", f"{ML}/model_groups/_register", {"name": "<unique> 2"},
             capture={"other": "model_group_id"}),
    ]  # fmt: skip
    for name, change in changes:
        steps += [Step(name, "PUT", put, change), Step(f"{name}: read", "GET", put)]
    steps += [
        Step("unknown model", "PUT", f"{ML}/models/nope", {"description": "x"}),
        Step("unknown model, bad body", "PUT", f"{ML}/models/nope", {"rate_limiter": {"limit": "x"}}),
        Step("a chunk", "PUT", f"{ML}/models/<model>_0", {"description": "x"}),
        Step("delete", "DELETE", put),
    ]
    await play(steps, *sides)


async def test_uploads(sides: tuple[Side, Side]) -> None:
    client = "500 for a client's mistake"
    chunk = f"{ML}/models/<model>/upload_chunk"
    left_out = {"name": None, "model_format": None, "model_content_hash_value": None, "model_config": None,
                "total_chunks": None}  # fmt: skip
    steps = [
        Step(f"without {name}", "POST", META, {key: value for key, value in META_BODY.items() if key != name})
        for name in left_out
    ]
    steps += [
        Step("no body", "POST", META, differs=client, status=400),
        Step("lower case", "POST", META, {**META_BODY, "model_format": "onnx"}),
        Step("a text for a number", "POST", META, {**META_BODY, "total_chunks": "2"}),
        Step("a broken number", "POST", META, {**META_BODY, "total_chunks": 2.5}),
        Step("no chunks", "POST", META, {**META_BODY, "total_chunks": 0}, differs="it would never end", status=400),
        Step("bad name", "POST", META, {**META_BODY, "name": "a<b>"}, differs="ML Commons checks it in _register only",
             status=400),
        Step("unknown group", "POST", META, {**META_BODY, "model_group_id": "nope"}, differs=client, status=404),
        Step("begin", "POST", META, META_BODY, capture={"model": "model_id"}),
        Step("begun", "GET", f"{ML}/models/<model>", skip=("model_version",)),
        Step("out of range", "POST", f"{chunk}/5", b"abc", differs=client, status=400),
        Step("negative", "POST", f"{chunk}/-1", b"abc", differs="ML Commons stores it", status=400),
        Step("empty", "POST", f"{chunk}/0", differs=client, status=400),
        Step("no number", "POST", f"{chunk}/x", b"abc"),
        Step("nobody's", "POST", f"{ML}/models/nope/upload_chunk/0", b"abc", differs=client, status=404),
        Step("plain text", "POST", f"{chunk}/0", b"abc", headers={"Content-Type": "text/plain"}),
        Step("the first", "POST", f"{ML}/models/<model>/chunk/0", PIECES[0]),
        Step("its document", "GET", f"{ML}/models/<model>_0", skip=("model_version",)),
        Step("the last", "POST", f"{chunk}/1", PIECES[1]),
        Step("whole", "GET", f"{ML}/models/<model>", until={"model_state": ["REGISTERED"]},
             differs="fields that ML Commons loses are kept: times, description"),
        Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
    ]  # fmt: skip
    await play(steps, *sides)
