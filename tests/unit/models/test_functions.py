"""Every local function through a bridge that runs no models and asks the one that does, with the real engines."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import tiny_functions as tiny
from file_server import FileServer
from model_bridge import ModelBridge, model_bridge

from bridge.models.inference import InferenceProcess, ProcessOptions
from bridge.store.stores import Stores

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))
import tiny_folders

pytestmark = pytest.mark.timeout(300)
CONFIG = {"model_type": "bert", "embedding_dimension": 4, "framework_type": "huggingface_transformers"}
PAIRS = {"query_text": "where is Paris", "text_docs": ["the city of france", "dog"]}
QUESTION = {"question": "where was it", "context": "hello world " * 60 + "in London, a large city."}


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[ModelBridge, ModelBridge]]:
    """A proxy without models, and the node that runs them."""
    stores = Stores.in_memory()
    process = InferenceProcess(ProcessOptions(allow_torchscript=True))
    async with (
        model_bridge(stores, tmp_path / "worker", inference=process) as worker,
        model_bridge(stores, tmp_path / "proxy", inference=None, roles=("proxy",)) as proxy,
    ):
        yield proxy, worker


async def deployed(worker: ModelBridge, server: FileServer, folder: Path, function: str, form: str) -> str:
    """The id of the model in `folder`, ready."""
    content = tiny.zip_of(folder)
    body: dict[str, Any] = {
        "name": f"{function} {form}",
        "function_name": function,
        "model_format": form,
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "url": server.serve_bytes(f"{function}-{form}.zip".lower(), content),
        "model_config": CONFIG,
    }
    if function.startswith("SPARSE"):
        del body["model_config"]
    task = await worker.register(body)
    assert task["state"] == "COMPLETED", task
    ended = await worker.deploy(task["model_id"])
    assert ended["state"] == "COMPLETED", ended
    return str(task["model_id"])


async def same(pair: tuple[ModelBridge, ModelBridge], model: str, body: dict[str, Any]) -> list[Any]:
    """The outputs, equal on both."""
    answers = [await each.call("POST", f"/models/{model}/_predict", body) for each in pair]
    assert answers[0].status == 200, answers[0].body
    assert answers[0].body == answers[1].body
    return [result.get("output") for result in answers[0].body["inference_results"]]


async def test_functions_by_another_node(
    pair: tuple[ModelBridge, ModelBridge], model_server: FileServer, tmp_path: Path
) -> None:
    _, worker = pair
    cross = await deployed(worker, model_server, tiny.write_cross_onnx(tmp_path / "c"), "TEXT_SIMILARITY", "ONNX")
    rows = await same(pair, cross, PAIRS)
    assert [list(row[0]) for row in rows] == [["name", "data_type", "shape", "data", "byte_buffer"]] * 2
    assert rows[0][0]["byte_buffer"] == {"array": "CY6iQA==", "order": "LITTLE_ENDIAN"}
    refused = await pair[0].call("POST", f"/_predict/text_embedding/{cross}", {"text_docs": ["a"]})
    assert refused.status == 400 and "query_text and text_docs" in refused.body["error"]["reason"]

    answers = await deployed(
        worker, model_server, tiny.write_answers_script(tmp_path / "q"), "QUESTION_ANSWERING", "TORCH_SCRIPT"
    )
    assert await same(pair, answers, QUESTION) == [[{"result": "london , a large city"}]]

    sparse = await deployed(
        worker, model_server, tiny.write_sparse_script(tmp_path / "s"), "SPARSE_ENCODING", "TORCH_SCRIPT"
    )
    ((tensor,),) = await same(pair, sparse, {"text_docs": ["hello"]})
    assert list(tensor) == ["name", "dataAsMap"] and tensor["dataAsMap"]["response"][0]["hello"] == 0.6931472
    assert await same(pair, sparse, {"text_docs": ["hello"], "target_response": ["x"]}) == [None]

    words = await deployed(worker, model_server, tiny.write_tokenize(tmp_path / "t"), "SPARSE_TOKENIZE", "ONNX")
    assert await same(pair, words, {"text_docs": ["cat"]}) == [[{"dataAsMap": {"response": [{"cat": 1.0}]}}]]


async def test_hugging_face_folders_of_every_function(
    pair: tuple[ModelBridge, ModelBridge], model_server: FileServer, tmp_path: Path
) -> None:
    _, worker = pair
    kinds = {
        "TEXT_EMBEDDING": ("Model", {"text_docs": ["hello"]}),
        "SPARSE_ENCODING": ("ForMaskedLM", {"text_docs": ["hello"]}),
        "TEXT_SIMILARITY": ("ForSequenceClassification", PAIRS),
        "QUESTION_ANSWERING": ("ForQuestionAnswering", QUESTION),
    }
    for function, (kind, body) in kinds.items():
        labels = {"num_labels": 1} if function == "TEXT_SIMILARITY" else {}
        folder = tiny_folders.write(tmp_path / function, kind, **labels)
        model = await deployed(worker, model_server, folder, function, "SAFETENSORS")
        rows = await same(pair, model, body)
        assert len(rows) == len(body.get("text_docs", [1])) and all(len(row) == 1 for row in rows)
