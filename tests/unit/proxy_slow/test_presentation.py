"""filter_path as the cluster applies it."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bridge.proxy.slow.presentation import coding_of, encoded, filtered, shaped, unshaped

ANSWER = {
    "took": 1,
    "errors": True,
    "items": [{"index": {"_id": "1", "status": 201}}, {"index": {"_id": "2", "error": {"type": "t"}}}],
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["took"], {"took": 1}),
        (["errors", "items.*.error"], {"errors": True, "items": [{"index": {"error": {"type": "t"}}}]}),
        (["items.*.error.type"], {"items": [{"index": {"error": {"type": "t"}}}]}),
        (["**.type"], {"items": [{"index": {"error": {"type": "t"}}}]}),
        (["t*"], {"took": 1}),
        (["nothing"], {}),
        (["-items"], {"took": 1, "errors": True}),
        (["items", "-items.index.status"], {"items": [{"index": {"_id": "1"}}, ANSWER["items"][1]]}),  # type: ignore[index]
        (["*"], ANSWER),
    ],
)
def test_paths_choose(paths: list[str], expected: Any) -> None:
    assert filtered(ANSWER, paths) == expected


def test_the_cluster_is_asked_for_everything_and_the_client_gets_his_shape() -> None:
    assert unshaped("/_bulk?filter_path=took&refresh=true") == "/_bulk?refresh=true"
    assert unshaped("/_bulk?a=%2F") == "/_bulk?a=%2F"
    assert shaped(ANSWER, "/_bulk?filter_path=took") == b'{"took":1}'
    assert shaped({"a": [1]}, "/_bulk?pretty") == b'{\n  "a" : [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (["gzip"], "gzip"), (["gzip;q=0"], None), (["deflate"], "deflate"), (["deflate, gzip"], "gzip"),
        (["br", "x-gzip"], "gzip"), (["gzip;q=0.1,deflate;q=0.5"], "deflate"), (["gzip;q=x"], None),
        (["GZIP"], None), (["identity"], None), (["*"], None), ([], None),
    ],
)  # fmt: skip
def test_the_coding_is_the_one_that_the_cluster_would_choose(accepted: list[str], expected: str | None) -> None:
    assert coding_of(accepted) == expected


@pytest.mark.parametrize(("coding", "window"), [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("body", [b"{}", b'{"a":1}' * 100_000])
async def test_answers_are_coded_whatever_their_length(coding: str, window: int, body: bytes) -> None:
    request = make_mocked_request("GET", "/_search", headers={"Accept-Encoding": coding})
    answer = await encoded(web.Response(body=body), request)
    assert isinstance(answer.body, bytes)
    assert zlib.decompress(answer.body, window) == body
    assert (answer.headers["Content-Encoding"], answer.content_length) == (coding, len(answer.body))


async def test_nothing_is_not_coded() -> None:
    request = make_mocked_request("GET", "/_search", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in (await encoded(web.Response(body=b""), request)).headers
