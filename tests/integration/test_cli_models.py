"""`bridge model` and `bridge task` against a served bridge, as a user runs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_fixtures import BridgeProcess
from click.testing import CliRunner
from local_node import free_port
from real_models import MINILM
from server_fixtures import Cluster

from bridge.cli import cli

pytestmark = pytest.mark.integration
CONFIG = json.dumps(
    {
        "model_type": "bert",
        "embedding_dimension": MINILM.dimension,
        "framework_type": "sentence_transformers",
        "pooling_mode": "mean",
        "normalize_result": True,
    }
)


def bridge(url: str, *words: str, wanted: int = 0) -> str:
    """What the command prints; its exit code must be `wanted`."""
    done = CliRunner().invoke(cli, [*words, "--bridge", url], env={"BRIDGE_USER": "", "BRIDGE_PASSWORD": ""})
    assert done.exit_code == wanted, (done.output, done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output if wanted else done.stdout


def told(url: str, *words: str) -> Any:
    return json.loads(bridge(url, *words, "--json"))


@pytest.fixture(scope="module")
def served(cluster_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("cli")
    prefix = f"test-cli-{free_port()}-"
    options = ["--cluster", cluster_url, "--index-prefix", prefix, "--data-dir", str(folder / "data")]
    process = BridgeProcess(options, folder / "bridge.log", {})
    try:
        process.wait_until_ready()
        yield process
        process.stop()
        assert "Traceback" not in process.log_text()
    finally:
        process.kill()
        Cluster(cluster_url).drop_indices(prefix)


def test_a_model_from_its_file_to_its_end(served: BridgeProcess, minilm_int8_onnx_zip: Path) -> None:
    url = served.url
    made = told(url, "model", "register", str(minilm_int8_onnx_zip), "--name", "small", "--config", CONFIG)
    assert (made["model_state"], made["model_format"]) == ("REGISTERED", "ONNX")
    assert made["total_chunks"] > 1
    model = made["model_id"]
    assert bridge(url, "model", "deploy", model) == f"{model}: COMPLETED\n"
    vector = json.loads(bridge(url, "model", "predict", model, "a small example"))
    assert len(vector) == MINILM.dimension
    assert model in bridge(url, "model", "list", "--name", "sma*", "--state", "deployed")
    assert "deployed state" in bridge(url, "model", "delete", model, wanted=1)
    assert bridge(url, "model", "undeploy", model) == f"{model}: undeployed\n"
    assert bridge(url, "model", "delete", model) == f"{model}: deleted\n"
    assert told(url, "model", "list") == []


def test_an_interrupted_upload_goes_on(served: BridgeProcess, minilm_int8_onnx_zip: Path) -> None:
    """The first two chunks came by another hand; the command finds them and sends only the rest."""
    url, content = served.url, minilm_int8_onnx_zip.read_bytes()
    http = Cluster(url)
    meta = {
        "name": "cut", "model_format": "ONNX", "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "total_chunks": -(-len(content) // 10_000_000), "model_config": json.loads(CONFIG),
    }  # fmt: skip
    status, begun = http.request("POST", "/_plugins/_ml/models/_register_meta", meta)
    assert status == 200, begun
    path = f"/_plugins/_ml/models/{begun['model_id']}/upload_chunk/0"
    assert http.request("POST", path, content[:10_000_000])[0] == 200
    made = told(url, "model", "register", str(minilm_int8_onnx_zip), "--name", "cut", "--config", CONFIG)
    assert (made["model_id"], made["model_state"]) == (begun["model_id"], "REGISTERED")
    bridge(url, "model", "delete", made["model_id"])


def test_a_hugging_face_folder(served: BridgeProcess, minilm_hf_folder: Path) -> None:
    made = told(served.url, "model", "register", str(minilm_hf_folder), "--name", "hf", "--deploy")
    assert (made["model_format"], made["model_state"]) == ("SAFETENSORS", "DEPLOYED")
    assert made["model_config"]["embedding_dimension"] == MINILM.dimension
    vector = json.loads(bridge(served.url, "model", "predict", made["model_id"], "a small example"))
    # The folder says that its vectors are normalised.
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)
    bridge(served.url, "model", "delete", made["model_id"], "--undeploy")


def test_an_id_leads_nowhere_else(served: BridgeProcess) -> None:
    url = served.url
    action = {"action_type": "predict", "method": "POST", "url": "https://api.openai.com/x", "request_body": "{}"}
    wanted = {"name": "c", "version": 1, "protocol": "http", "credential": {"k": "v"}, "actions": [action]}
    status, made = Cluster(url).request("POST", "/_plugins/_ml/connectors/_create", wanted)
    assert status == 200, made
    connector = f"/_plugins/_ml/connectors/{made['connector_id']}"
    bridge(url, "model", "delete", f"../connectors/{made['connector_id']}", wanted=1)
    bridge(url, "model", "delete", f"x/../../connectors/{made['connector_id']}", wanted=1)
    assert "Failed to find model" in bridge(url, "model", "deploy", "a b/c?d#e%2e", wanted=1)
    assert Cluster(url).request("GET", connector)[0] == 200
    assert Cluster(url).request("DELETE", connector)[0] == 200


def test_what_goes_wrong_is_said_and_shown_in_the_exit_code(served: BridgeProcess, tmp_path: Path) -> None:
    url = served.url
    assert "Failed to find model" in bridge(url, "model", "deploy", "nope", wanted=1)
    assert "TEXTS" in bridge(url, "model", "predict", "nope", wanted=2)
    (tmp_path / "not.zip").write_bytes(b"no zip")
    assert "no zip" in bridge(url, "model", "register", str(tmp_path / "not.zip"), wanted=2)
    (tmp_path / "empty").mkdir()
    assert "lacks tokenizer.json" in bridge(url, "model", "register", str(tmp_path / "empty"), wanted=1)
    assert "find task" in bridge(url, "task", "watch", "nope", wanted=1)
    asked = {"name": "x", "version": "1", "model_format": "ONNX"}
    status, answer = Cluster(url).request("POST", "/_plugins/_ml/models/_register", asked)
    assert status == 200
    shown = bridge(url, "task", "watch", answer["task_id"], wanted=1)
    assert "no repository of pretrained models" in shown
    nobody = f"http://127.0.0.1:{free_port()}"
    assert "127.0.0.1" in bridge(nobody, "model", "list", wanted=3)
