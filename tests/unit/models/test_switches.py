"""Switches among the cluster settings: what they refuse, and with which words (as recorded)."""

from __future__ import annotations

from typing import Any

import pytest
from model_pair import Pair


def _off(what: str, key: str) -> str:
    return f'{what} is currently disabled. To enable it, update the setting "plugins.ml_commons.{key}" to true.'


LOCAL = _off("Local Model", "local_model.enabled")
# The words name another key than the one that counts.
REMOTE = _off("Remote Inference", "remote_inference_enabled")
CONTROLLER = _off("Controller", "controller_enabled")
BATCH = _off("Offline Batch Inference", "offline_batch_inference_enabled")
BATCHES = "/models/{model}/_batch_predict"
TEXTS = {"text_docs": ["a"]}
REGISTERED = {"name": "r", "function_name": "remote", "connector_id": "c"}


@pytest.mark.parametrize(
    ("switch", "method", "path", "body", "kind", "reason"),
    [
        ("local_model_enabled", "POST", "/models/{model}/_predict", TEXTS, "status_exception", LOCAL),
        ("local_model_enabled", "POST", "/models/{model}/_deploy", None, "status_exception", LOCAL),
        ("remote_inference_enabled", "POST", "/models/_register", REGISTERED, "status_exception", REMOTE),
        ("controller_enabled", "POST", "/controllers/{model}", {}, "illegal_state_exception", CONTROLLER),
        ("controller_enabled", "GET", "/controllers/{model}", None, "illegal_state_exception", CONTROLLER),
        ("controller_enabled", "PUT", "/controllers/{model}", {}, "illegal_state_exception", CONTROLLER),
        ("controller_enabled", "DELETE", "/controllers/{model}", None, "illegal_state_exception", CONTROLLER),
        ("offline_batch_inference_enabled", "POST", BATCHES, {}, "illegal_state_exception", BATCH),
    ],
)
async def test_what_is_off_is_refused_at_once(
    pair: Pair, switch: str, method: str, path: str, body: Any, kind: str, reason: str
) -> None:
    one = await pair.start(0)
    path = path.format(model=await pair.model(one))
    pair.set(**{switch: False})
    answer = await one.call(method, path, body)
    assert (answer.status, answer.body["error"]["type"], answer.body["error"]["reason"]) == (400, kind, reason)
    pair.set(**{switch: True})
    again = await one.call(method, path, body)
    assert "currently disabled" not in str(again.body)
