"""Every local function, in each format that the reference runs: the same model and the same calls on both sides."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_functions as tiny
from file_server import FileServer
from scenario import DELETED, ML, Side, Step, ended, play
from tiny_zip import tiny_zip

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "engines"))
import tiny_models

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

NULL = "a null or nested text is 500 in the reference"
CONFIG = {"model_type": "bert", "embedding_dimension": 4, "framework_type": "huggingface_transformers"}
TEXTS = ["hello Paris, in the city", "", "the the cat [SEP]", "zebra", "river " * 90]
FILLER = "hello world " * 60


def running(
    folder: Path, server: FileServer, function: str, model_format: str, config: dict[str, Any] | None, **more: Any
) -> list[Step]:
    """Register and deploy the model in `folder`."""
    content = more.pop("content", None) or tiny.zip_of(folder)
    body = {
        "name": "<unique>",
        "function_name": function,
        "model_format": model_format,
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "url": server.serve_bytes(f"{function}-{model_format}.zip".lower(), content),
    }
    if config is not None:
        body["model_config"] = config
    return [
        Step("register", "POST", f"{ML}/models/_register", body, capture={"task": "task_id"}),
        ended("registered", capture={"model": "model_id"}),
        Step("deploy", "POST", f"{ML}/models/<model>/_deploy", capture={"task": "task_id"}),
        ended("deployed", capture={"node": "worker_node.0"}),
        Step("ready", "GET", f"{ML}/models/<model>", until={"model_state": ("DEPLOYED", "DEPLOY_FAILED")}),
    ]


GONE = [
    Step("undeploy", "POST", f"{ML}/models/<model>/_undeploy"),
    Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
]


def asks(name: str, body: Any, path: str = "models/<model>/_predict", **options: Any) -> Step:
    return Step(name, "POST", f"{ML}/{path}", body, **{"rounded": 5, "unordered": True, **options})


SHARED = [
    asks("no body", None),
    asks("not JSON", "{x"),
    asks("an array", "[]"),
    asks("unknown algorithm", {"text_docs": ["a"]}, "_predict/foo/<model>"),
]

SPARSE = [
    asks("texts", {"text_docs": TEXTS}),
    asks("token ids", {"text_docs": TEXTS, "parameters": {"sparse_embedding_format": "token_id"}}),
    asks("words", {"text_docs": ["hello"], "parameters": {"sparse_embedding_format": "WORD"}}),
    asks("unknown format", {"text_docs": ["hello"], "parameters": {"sparse_embedding_format": "bad"}}),
    asks("unknown kind", {"text_docs": ["hello"], "parameters": {"content_type": "bad"}}),
    asks("a kind", {"text_docs": ["hello"], "parameters": {"content_type": "query"}}),
    asks("by algorithm", {"text_docs": ["hello"]}, "_predict/sparse_encoding/<model>"),
    asks("as embedding", {"text_docs": ["hello"]}, "_predict/text_embedding/<model>"),
    asks("another name", {"text_docs": ["hello"], "target_response": ["x"]}),
    asks("its name", {"text_docs": ["hello"], "target_response": ["output"]}),
    asks("its place", {"text_docs": ["hello"], "target_response_positions": [0]}),
    asks("result_filter", {"text_docs": ["hello"], "result_filter": {"target_response": ["x"]}}),
    asks("bytes", {"text_docs": ["hello"], "return_bytes": True, "return_number": False}),
    asks("numbers", {"text_docs": [12, 1.5, True]}),
    asks("empty", {"text_docs": []}),
    asks("nothing", {}),
    asks("null", {"text_docs": ["a", None]}, differs=NULL, status=400),
    asks("nested", {"text_docs": [["a"]]}, differs=NULL, status=400),
    asks("a text", {"text_docs": "a"}, differs=NULL, status=400),
    asks("a switch", {"text_docs": ["a"], "return_number": "yes"}),
]


@pytest.mark.parametrize(
    ("write", "model_format"),
    [
        (tiny.write_sparse_script, "TORCH_SCRIPT"),
        (lambda folder: tiny.write_sparse_script(folder, answers="tensor"), "TORCH_SCRIPT"),
        (lambda folder: tiny.write_sparse_onnx(folder, prefix="input1."), "ONNX"),
    ],
    ids=["script", "script-tensor", "onnx"],
)
async def test_sparse_encoding(
    sides: tuple[Side, Side],
    tmp_path: Path,
    model_server: FileServer,
    write: Callable[[Path], Path],
    model_format: str,
) -> None:
    steps = running(write(tmp_path), model_server, "SPARSE_ENCODING", model_format, None)
    await play([*steps, *SPARSE, *SHARED, *GONE], *sides)


@pytest.mark.parametrize("idf", [None, {"hello": 2.5, "cat": 0.125, "[CLS]": 7, "##e": 3}], ids=["plain", "idf"])
async def test_sparse_tokenize(
    sides: tuple[Side, Side], tmp_path: Path, model_server: FileServer, idf: dict[str, float] | None
) -> None:
    steps = running(tiny.write_tokenize(tmp_path, idf=idf), model_server, "SPARSE_TOKENIZE", "TORCH_SCRIPT", None)
    await play([*steps, *SPARSE, *GONE], *sides)


SIMILARITY = [
    asks("pairs", {"query_text": "where is Paris", "text_docs": TEXTS}),
    asks("by algorithm", {"query_text": "where", "text_docs": ["cat"]}, "_predict/text_similarity/<model>"),
    asks("an empty query", {"query_text": "", "text_docs": ["cat"]}),
    asks("a long query", {"query_text": "hello " * 90, "text_docs": ["cat", "dog " * 90]}),
    asks("filters", {"query_text": "a", "text_docs": ["cat"], "return_number": False, "target_response": ["x"]}),
    asks("numbers", {"query_text": 5, "text_docs": [7]}),
    asks("no texts", {"query_text": "a", "text_docs": []}),
    asks("no texts at all", {"query_text": "a"}),
    asks("no query", {"text_docs": ["a"]}),
    asks("nothing", {}),
    asks("null", {"query_text": None, "text_docs": ["a"]}, differs=NULL, status=400),
    asks("nested", {"query_text": ["a"], "text_docs": ["a"]}, differs=NULL, status=400),
    asks("a null text", {"query_text": "a", "text_docs": ["a", None]}, differs=NULL, status=400),
    asks(
        "as embedding",
        {"text_docs": ["a"]},
        "_predict/text_embedding/<model>",
        differs="another function's input is 500 in the reference",
        status=400,
    ),
]


@pytest.mark.parametrize(
    ("write", "model_format"),
    [
        (tiny.write_cross_onnx, "ONNX"),
        (lambda folder: tiny.write_cross_onnx(folder, labels=2), "ONNX"),
        (tiny.write_cross_script, "TORCH_SCRIPT"),
    ],
    ids=["onnx", "onnx-two-labels", "script"],
)
async def test_text_similarity(
    sides: tuple[Side, Side],
    tmp_path: Path,
    model_server: FileServer,
    write: Callable[[Path], Path],
    model_format: str,
) -> None:
    steps = running(write(tmp_path), model_server, "TEXT_SIMILARITY", model_format, CONFIG)
    # The last bit of a float32 may differ, and with it the text of its bytes.
    await play([*steps, *(_without_bytes(step) for step in SIMILARITY), *SHARED, *GONE], *sides)


def _without_bytes(step: Step) -> Step:
    return Step(**{**vars(step), "skip": ("array",)})


ANSWERS = [
    asks("a span", {"question": "where was it", "context": "It was in Paris, a large city."}),
    asks("a word", {"question": "where was it", "context": "it was in PARIS"}),
    asks("by algorithm", {"question": "where", "context": "in london city"}, "_predict/question_answering/<model>"),
    asks("numbers", {"question": 1, "context": "2 paris"}),
    asks("filters", {"question": "where", "context": "paris", "return_number": False, "target_response": ["x"]}),
    asks("no question", {"context": "a"}),
    asks("no context", {"question": "a"}),
    asks("nothing", {}),
    asks("an empty question", {"question": "", "context": "a"}),
    asks("an empty context", {"question": "a", "context": ""}),
    asks("null", {"question": None, "context": "a"}, differs=NULL, status=400),
    asks("nested", {"question": "a", "context": ["a"]}, differs=NULL, status=400),
    asks(
        "no answer",
        {"question": "where", "context": "hello world"},
        differs="the reference answers special tokens",
        status=200,
    ),
    asks(
        "an end before a start",
        {"question": "where", "context": "city of hello"},
        differs="the reference swaps them, and answers the question too",
        status=200,
    ),
    asks(
        "a long context",
        {"question": "where", "context": FILLER + "paris"},
        differs="the reference reads the first window only",
        status=200,
    ),
]


@pytest.mark.parametrize(
    ("write", "model_format"),
    [(tiny.write_answers_onnx, "ONNX"), (tiny.write_answers_script, "TORCH_SCRIPT")],
    ids=["onnx", "script"],
)
async def test_question_answering(
    sides: tuple[Side, Side],
    tmp_path: Path,
    model_server: FileServer,
    write: Callable[[Path], Path],
    model_format: str,
) -> None:
    steps = running(write(tmp_path), model_server, "QUESTION_ANSWERING", model_format, CONFIG)
    await play([*steps, *ANSWERS, *SHARED, *GONE], *sides)


EMBEDDING = [
    asks("texts", {"text_docs": TEXTS[:3]}),
    asks("a batch predict", {"text_docs": ["hello"]}, "models/<model>/_batch_predict"),
    asks("by sparse encoding", {"text_docs": ["hello"]}, "_predict/sparse_encoding/<model>"),
    asks("result_filter wins", {"text_docs": ["a"], "return_number": False, "result_filter": {"return_bytes": True}}),
    asks("no numbers", {"text_docs": ["hello"], "return_number": False}),
    asks("bytes", {"text_docs": ["hello"], "return_bytes": True}),
    asks("no such place", {"text_docs": ["hello"], "target_response_positions": [5]}),
    asks("its place as a text", {"text_docs": ["hello"], "target_response_positions": ["0"]}),
    asks("numbers null", {"text_docs": ["hello"], "return_number": None}),
    asks("numbers a list", {"text_docs": ["hello"], "return_number": ["x"]}),
    asks("numbers an empty text", {"text_docs": ["hello"], "return_number": ""}),
    asks("kmeans", {"text_docs": ["hello"]}, "_predict/kmeans/<model>", skip=("reason", "type")),
    asks(
        "remote",
        {"parameters": {"a": "b"}},
        "_predict/remote/<model>",
        differs="parameters of a remote model for a local one are 500 in the reference",
        status=400,
    ),
    asks(
        "a kind",
        {"text_docs": ["hello"], "parameters": {"content_type": "query"}},
        differs="a kind for a model without prefixes is 500 in the reference",
        status=400,
    ),
]


async def test_text_embedding(sides: tuple[Side, Side], tmp_path: Path, model_server: FileServer) -> None:
    config = {"model_type": "distilbert", "embedding_dimension": 6, "framework_type": "sentence_transformers"}
    content = tiny_zip(tmp_path)
    steps = running(tmp_path, model_server, "TEXT_EMBEDDING", "ONNX", config, content=content)
    await play([*steps, *EMBEDDING, *SHARED, *GONE], *sides)


DICT = [
    asks("all outputs", {"text_docs": ["the cat", "dog"]}),
    asks("bytes too", {"text_docs": ["the cat"], "return_bytes": True}),
    asks("bytes only", {"text_docs": ["the cat"], "return_bytes": True, "return_number": False}),
    asks("one output", {"text_docs": ["cat"], "return_bytes": True, "target_response": ["sentence_embedding"]}),
    asks("name and place", {"text_docs": ["cat"], "target_response": ["input_ids"], "target_response_positions": [2]}),
]


async def test_text_embedding_of_sentence_transformers(
    sides: tuple[Side, Side], tmp_path: Path, model_server: FileServer
) -> None:
    config = {"model_type": "bert", "embedding_dimension": 6, "framework_type": "sentence_transformers"}
    folder = tiny_models.write_torchscript(tmp_path, takes_dict=True)
    steps = running(folder, model_server, "TEXT_EMBEDDING", "TORCH_SCRIPT", config)
    await play([*steps, *DICT, *GONE], *sides)
