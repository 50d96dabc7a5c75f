from __future__ import annotations

import inspect

import pytest

from bridge import errors


def test_the_envelope_is_that_of_opensearch() -> None:
    error = errors.NotFound("Failed to find model with the provided model id: x")
    cause = {"type": "status_exception", "reason": "Failed to find model with the provided model id: x"}
    assert errors.error_body(error) == {"error": {"root_cause": [cause], **cause}, "status": 404}
    assert errors.status_of(error) == 404


def test_a_cluster_error_goes_out_untouched() -> None:
    body = {"error": {"type": "index_not_found_exception", "reason": "no such index", "index": "i"}, "status": 404}
    error = errors.ClusterError(404, body)
    assert errors.error_body(error) is body
    assert (errors.status_of(error), error.kind, error.reason) == (404, "index_not_found_exception", "no such index")


@pytest.mark.parametrize("body", [None, "text", [1], {"error": "text"}, {"error": {"type": 1}}])
def test_a_cluster_error_of_any_shape_is_read(body: object) -> None:
    error = errors.ClusterError(400, body)
    assert error.reason == "the cluster answered 400"
    assert error.kind == "cluster_error"


def test_every_error_has_a_status_that_http_knows() -> None:
    kinds = [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, errors.BridgeError)]
    assert len(kinds) > 12
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_a_kind_can_be_given_for_one_occurrence() -> None:
    error = errors.InvalidRequest("r", kind="parse_exception", line=1)
    assert errors.error_body(error)["error"]["root_cause"] == [{"type": "parse_exception", "reason": "r", "line": 1}]
