"""Query parameters: which are known, and what is said about others."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from bridge.errors import InvalidRequest
from bridge.rest.parameters import check, check_generic, last


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


NO_SWITCH = "Failed to parse value [maybe] as only [true] or [false] are allowed."


@pytest.mark.parametrize("query", ["pretty=maybe", "human=maybe", "error_trace=maybe", "pretty&pretty=maybe"])
def test_a_generic_switch_is_on_or_off(query: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_generic(make_mocked_request("GET", f"/x?{query}"))
    assert (refused.value.reason, refused.value.kind) == (NO_SWITCH, "illegal_argument_exception")


@pytest.mark.parametrize(
    "query", ["", "pretty", "human=", "pretty=maybe&pretty=true", "deploy=maybe", "filter_path=maybe"]
)
def test_a_generic_switch_that_is_one_passes(query: str) -> None:
    check_generic(make_mocked_request("GET", f"/x?{query}"))


def test_a_switch_of_a_route_is_looked_at_before_unknown_names() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(make_mocked_request("GET", "/x?return_content=maybe&bogus"), ("return_content",))
    assert refused.value.reason == NO_SWITCH
    check(make_mocked_request("GET", "/x?return_content&deploy=true"), ("return_content", "deploy"))


def test_the_last_of_several_values_counts() -> None:
    request = make_mocked_request("GET", "/x?a=1&b=2&a=3")
    assert (last(request, "a"), last(request, "c"), last(request, "c", "d")) == ("3", "", "d")
