"""`ml_inference` with a cross-encoder that runs on an ML node, on the bridge and on the real ML Commons."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_functions as tiny
from file_server import FileServer
from inference_models import DOCUMENTS, MAPPINGS, run
from scenario import DELETED, ML, Side, Step, ended, play

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = {"model_type": "bert", "embedding_dimension": 4, "framework_type": "huggingface_transformers"}
PAIRS = '{"text_docs": ${input_map.d}, "query_text": "${input_map.q}"}'
PAIR = '{"text_docs": ["${input_map.d}"], "query_text": "${input_map.q}"}'
INPUTS = [{"d": "title", "q": "_request.query.match.title.query"}]
DATA = "$.inference_results[*].output[*].data"


def scored(name: str, query: str = "red apple car boat", **config: Any) -> Step:
    """A search whose hits get scores; the last bits of a number may differ, and with them the text of its bytes."""
    options = {key: config.pop(key) for key in ("differs", "status") if key in config}
    made = {
        "model_id": "<model>", "function_name": "text_similarity", "model_input": PAIRS, "input_map": INPUTS,
        "output_map": [{"s": DATA}], **config,
    }  # fmt: skip
    body = {
        "query": {"match": {"title": query}},
        "sort": ["num"],
        "_source": ["title"],
        "search_pipeline": {"response_processors": [{"ml_inference": made}]},
    }
    return Step(
        name, "POST", "/<unique>/_search", body, unordered=True, rounded=5, skip=("array", "profile"), **options
    )


SEARCHES = [
    scored("all at once"),
    scored("first result only", full_response_path=False),
    scored("whole", output_map=[{"s": "$.inference_results"}], query="red"),
    scored("no output map", output_map=[], query="red"),
    scored("into ext", output_map=[{"ext.ml_inference.s": DATA}]),
    scored("one to one", one_to_one=True, model_input=PAIR, query="red"),
    scored("one to one, numbers", one_to_one=True, model_input=PAIR, full_response_path=False, query="red"),
    scored("one path down", one_to_one=True, model_input=PAIR, query="red",
           output_map=[{"s": "$.inference_results[0].output[0].data[0]", "n": "$.inference_results.length()"}]),
    scored("no query", model_input='{"text_docs": ${input_map.d}}'),
    scored("no texts", model_input='{"query_text": "${input_map.q}"}'),
    scored("empty texts", model_input='{"text_docs": [], "query_text": "${input_map.q}"}'),
    scored("by parameters", model_input='{"text_docs": ["${ml_inference.q}"], "query_text": "${ml_inference.q:-x}"}'),
    scored("config for the query", model_config={"q": "zebra"}, input_map=[{"d": "title"}],
           model_input='{"text_docs": ${input_map.d}, "query_text": "${model_config.q}"}'),
    scored("a text for a list", one_to_one=True, query="red",
           differs="a text in the place of a list is no payload in the real server", status=200),
]  # fmt: skip


async def test_a_local_cross_encoder(sides: tuple[Side, Side], tmp_path: Path, model_server: FileServer) -> None:
    content = tiny.zip_of(tiny.write_cross_onnx(tmp_path))
    registered = {
        "name": "<unique>",
        "function_name": "TEXT_SIMILARITY",
        "model_format": "ONNX",
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "url": model_server.serve_bytes("cross.zip", content),
        "model_config": CONFIG,
    }
    lines = [line for at, document in enumerate(DOCUMENTS, 1) for line in ({"index": {"_id": f"{at}"}}, document)]
    bulk = "".join(json.dumps(line) + "\n" for line in lines)
    one_shard = {"index": {"number_of_shards": 1, "number_of_replicas": 0}}
    await run(
        [
            Step("index", "PUT", "/<unique>", {"settings": one_shard, "mappings": MAPPINGS}),
            Step("documents", "POST", "/<unique>/_bulk?refresh=true", bulk),
            Step("register", "POST", f"{ML}/models/_register", registered, capture={"task": "task_id"}),
            ended("registered", capture={"model": "model_id"}),
            Step("deploy", "POST", f"{ML}/models/<model>/_deploy", capture={"task": "task_id"}),
            ended("deployed"),
            Step("ready", "GET", f"{ML}/models/<model>", until={"model_state": ("DEPLOYED", "DEPLOY_FAILED")}),
        ],
        sides,
    )
    try:
        await play(SEARCHES, *sides)
    finally:
        undeploy = Step("undeploy", "POST", f"{ML}/models/<model>/_undeploy")
        delete = Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED)
        await run([undeploy, delete, Step("drop", "DELETE", "/<unique>")], sides)
