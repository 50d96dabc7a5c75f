"""Reading definitions of search pipelines: what can't be a processor is refused wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.errors import InvalidRequest
from bridge.pipelines.search_definitions import read_search
from bridge.processors.ingest import IngestServices

OURS = {"rerank": {"by_field": {"target_field": "n"}}}
NATIVE = {"sort": {"field": "n"}}


def read(definition: dict[str, Any]) -> Any:
    return read_search("p", definition, IngestServices(predictor=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("element", [None, 5, "x", [], True])
@pytest.mark.parametrize("key", ["request_processors", "response_processors"])
def test_a_processor_that_is_no_object_is_refused(key: str, element: Any) -> None:
    for native in ([element], [NATIVE, element]):
        definition: dict[str, Any] = {"response_processors": [OURS], "request_processors": []}
        definition[key] = [*definition[key], *native]
        with pytest.raises(InvalidRequest, match=f"{key}.*isn't a map") as refused:
            read(definition)
        assert refused.value.kind == "parse_exception"


def test_what_is_no_list_is_left_to_the_cluster() -> None:
    assert read({"response_processors": "x"}) is None
    assert read({"response_processors": [OURS], "request_processors": "x"}) is not None
    assert read({"response_processors": [OURS], "request_processors": None}) is not None
