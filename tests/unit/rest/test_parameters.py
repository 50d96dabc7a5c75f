"""Query parameters: which are known, and what is said about others."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from bridge.errors import InvalidRequest
from bridge.rest.parameters import check


@pytest.mark.parametrize("query", ["", "pretty", "filter_path=a&human&error_trace=false&format=json", "deploy=true"])
def test_known_ones_pass(query: str) -> None:
    check(make_mocked_request("POST", f"/x?{query}"), ("deploy",))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("foo=1", "request [/a b] contains unrecognized parameter: [foo]"),
        ("zoo=1&bar", "request [/a b] contains unrecognized parameters: [bar], [zoo]"),
        ("prety=true", "request [/a b] contains unrecognized parameter: [prety] -> did you mean [pretty]?"),
        ("deploi=true", "request [/a b] contains unrecognized parameter: [deploi] -> did you mean [deploy]?"),
        ("vieu=1", "request [/a b] contains unrecognized parameter: [vieu] -> did you mean any of [vieux, view]?"),
    ],
)
def test_others_are_refused_with_what_may_have_been_meant(query: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(make_mocked_request("POST", f"/a%20b?{query}"), ("deploy", "view", "vieux"))
    assert refused.value.reason == reason
