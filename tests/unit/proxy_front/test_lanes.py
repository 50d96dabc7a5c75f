"""Which lane a request takes, by path, table, verdicts and words."""

# Raw requests stay on one line each.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.proxy.front.config import Limits
from bridge.proxy.front.heads import BadRequest, HeadReader, RequestHead
from bridge.proxy.front.lanes import Lane, after_scan, choose, parameters
from bridge.proxy.front.routes import Work, route
from bridge.proxy.front.table import LaneTable, Table, TableReader
from bridge.proxy.front.verdicts import Verdicts
from bridge.proxy.front.words import suspicious

READER = HeadReader(Limits())
NONE = Table(version=1, known=True)
OURS = Table(version=1, ingest_pipelines=frozenset(("embed",)), known=True)
UNKNOWN = Table()


def head(request: str, *lines: bytes, body: bytes = b"") -> RequestHead:
    method, target = request.split(" ")
    if body:
        lines = (*lines, b"Content-Length: %d" % len(body))
    return READER.parse(b"\r\n".join((f"{method} {target} HTTP/1.1".encode(), b"Host: a", *lines)) + b"\r\n\r\n")


def lane(request: str, table: Table = NONE, *, body: bytes = b"", verdicts: Verdicts | None = None) -> Lane:
    return choose(head(request, body=body), table, verdicts or Verdicts(lambda: 0.0)).lane


@pytest.mark.parametrize(
    "request_line",
    ["GET /", "GET /_cat/indices", "GET /_cluster/health", "GET /a/_doc/1", "HEAD /a", "GET /a", "DELETE /a/_doc/1",
     "GET /a/_mapping", "PUT /a/_mapping", "POST /a/_refresh", "GET /a/_settings", "GET /_index_template/t",
     "POST /_search/scroll", "DELETE /_search/point_in_time", "POST /a/_search/point_in_time", "GET /_plugins/_knn/stats",
     "POST /_mget", "GET /_nodes", "HEAD /a/_alias/b", "PUT /_snapshot/r", "GET /_aliases", "GET /_bulk"],
)  # fmt: skip
def test_plain_requests_take_the_fast_lane_whatever_the_table(request_line: str) -> None:
    for table in (NONE, OURS, UNKNOWN):
        assert lane(request_line, table, body=b"{}") is Lane.FAST


@pytest.mark.parametrize(
    "request_line",
    ["GET /_plugins/_ml/models/1", "POST /_plugins/_ml/models/_register", "GET /_plugins/_ml", "GET /_plugins/_ml/",
     "GET /_bridge/metrics", "GET /_ingest/pipeline", "PUT /_ingest/pipeline/a", "POST /_ingest/pipeline/_simulate",
     "PUT /_search/pipeline/a", "GET /_search/pipeline", "PUT /a", "DELETE /a", "PUT /a/_settings", "PUT /_settings",
     "POST /_aliases", "PUT /a/_alias/b", "DELETE /a/_aliases/b", "PUT /_index_template/t", "POST /_template/t",
     "DELETE /_component_template/t", "PUT /_data_stream/d", "POST /a/_rollover", "PUT /a/_clone/b", "POST /a/_split/b",
     "PUT /a/_shrink/b", "POST /_snapshot/r/s/_restore", "PUT /_cluster/settings", "GET /_cluster/settings",
     "PUT /_all/_settings", "DELETE /_all", "GET /%5Fplugins/_ml/models", "GET /_plugins/%5fml/x"],
)  # fmt: skip
def test_what_is_ours_or_changes_what_applies_takes_the_slow_lane(request_line: str) -> None:
    for table in (NONE, OURS, UNKNOWN):
        assert lane(request_line, table) is Lane.SLOW


def test_health_is_a_lane_of_its_own() -> None:
    assert lane("GET /_bridge/health") is Lane.HEALTH
    assert lane("GET /_bridge/health/x") is Lane.SLOW


@pytest.mark.parametrize(
    "path",
    ["/_search", "/a/_search", "/a,b*/_search", "/_msearch", "/a/_msearch/template", "/_search/template", "/a/_count",
     "/a/_validate/query", "/a/_explain/1", "/_all/_search", "/_plugins/_asynchronous_search", "/a/_search/",
     "/%3Clogs-%7Bnow%2Fd%7D%3E/_search", "/_rank_eval"],
)  # fmt: skip
def test_searches_are_read_first(path: str) -> None:
    assert lane(f"POST {path}", body=b"{}") is Lane.SCAN
    assert lane(f"GET {path}") is Lane.FAST


def test_a_search_in_the_query_string_is_looked_at() -> None:
    assert lane("GET /a/_search?source=%7B%22query%22%3A%7B%22neural%22%3A1%7D%7D&source_content_type=x") is Lane.SLOW
    assert lane("GET /a/_search?size=1;%73ource=neural") is Lane.SLOW
    assert lane("GET /a/_search?source=%7B%22match_all%22%7D") is Lane.FAST
    assert lane("GET /a/_search?q=neural") is Lane.FAST
    table = Table(version=1, search_pipelines=frozenset(("rag",)), known=True)
    assert lane("GET /a/_search?search_pipeline=rag", table) is Lane.SLOW
    assert lane("GET /a/_search?search_pipeline=other", table) is Lane.FAST
    assert lane("GET /a/_search?search_pipeline=other", UNKNOWN) is Lane.SLOW
    assert lane("GET /a/_search?search_pipeline=_none", UNKNOWN) is Lane.FAST


SEARCHED = Table(version=1, search_pipelines=frozenset(("rag",)), known=True)


@pytest.mark.parametrize(
    "request_line", ["GET /a/_search", "POST /a,b*/_search", "POST /a/_count", "GET /_all/_search"]
)
def test_searches_of_indices_are_looked_at_once_while_there_are_pipelines(request_line: str) -> None:
    now = [0.0]
    verdicts = Verdicts(lambda: now[0])
    first = choose(head(request_line, body=b"{}"), SEARCHED, verdicts)
    assert first.lane is Lane.SLOW
    assert first.learns is not None
    assert not first.spare
    verdicts.learn(first.learns, 5.0, 1)
    assert lane(request_line, SEARCHED, body=b"{}", verdicts=verdicts) is Lane.SCAN
    assert lane(request_line, SEARCHED, verdicts=verdicts) is Lane.FAST
    assert lane("PUT /a/_doc/1", OURS, verdicts=verdicts) is Lane.SLOW
    assert lane(f"{request_line}?ignore_unavailable=true", SEARCHED, verdicts=verdicts) is Lane.FAST
    assert lane(f"{request_line}?expand_wildcards=all", SEARCHED, verdicts=verdicts) is Lane.SLOW
    now[0] = 6.0
    assert choose(head(request_line), SEARCHED, verdicts) == (Lane.SLOW, first.learns, True)
    request = head(request_line, body=b"{}")
    again = choose(request, SEARCHED, verdicts)
    assert again == (Lane.SCAN, first.learns, True)
    assert after_scan(request, SEARCHED, b"{}", 100, again) == (Lane.SLOW, first.learns, True)
    assert after_scan(request, SEARCHED, b'{"search_pipeline":"rag"}', 100, again) == (Lane.SLOW, None, False)
    assert lane(request_line, NONE, body=b"{}", verdicts=verdicts) is Lane.SCAN


@given(
    target=st.sampled_from(["a", "a,b", "a*", "_all", "%61", "<x-%7Bnow%7D>"]),
    action=st.sampled_from(["_search", "_count", "_search/", "_msearch", "_search/template"]),
    query=st.lists(st.sampled_from(["q=x", "size=1", "expand_wildcards=all", "pretty", "search_type=x"]), max_size=3),
    body=st.booleans(),
)
def test_no_search_of_an_index_slips_by_unasked(target: str, action: str, query: list[str], body: bool) -> None:
    request = head(f"POST /{target}/{action}?{'&'.join(query)}", body=b"{}" if body else b"")
    verdicts = Verdicts(lambda: 0.0)
    verdicts.clear("", 1)
    for other in ("?b", "a", "?a?open", "?none"):
        verdicts.learn(other, 60.0, 1)
    found = choose(request, SEARCHED, verdicts)
    assert (found.lane, found.spare) == (Lane.SLOW, False)
    assert choose(request, NONE, verdicts).lane is (Lane.SCAN if body else Lane.FAST)


def test_a_named_pipeline_leaves_no_room_for_the_index() -> None:
    assert lane("POST /a/_search?search_pipeline=_none", SEARCHED, body=b"{}") is Lane.SCAN
    assert lane("POST /a/_search?search_pipeline=other", SEARCHED, body=b"{}") is Lane.SCAN
    assert lane("POST /a/_search?search_pipeline=%72ag", SEARCHED, body=b"{}") is Lane.SLOW


@pytest.mark.parametrize(
    "request_line", ["POST /_msearch", "POST /a/_msearch", "POST /_msearch/template", "GET /a/_search/template"]
)
def test_searches_whose_targets_stand_in_the_body_go_to_the_application(request_line: str) -> None:
    assert lane(request_line, SEARCHED, body=b"{}") is Lane.SLOW
    assert lane(request_line, NONE, body=b"{}") is Lane.SCAN


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [("/_search", b'{"pit":{"id":"x"}}', Lane.SLOW), ("/_search", b'{"pit" : {"id":"x"}}', Lane.SLOW),
     ("/_search", b"pit:\n  id: x\n", Lane.SLOW), ("/_search", b'{"query":{"match":{"a":"capital"}}}', Lane.FAST),
     ("/a/_search", b'{"pit":1}', Lane.FAST), ("/_search", b'{"search_pipeline":{}}', Lane.SLOW),
     ("/a/_search", b'{"ext":{"rerank":{}}}', Lane.SLOW)],
)  # fmt: skip
def test_points_in_time_and_pipelines_in_a_body_are_found(path: str, body: bytes, expected: Lane) -> None:
    request = head(f"POST {path}", body=body)
    assert after_scan(request, SEARCHED, body, 1_000).lane is expected
    if b"pit" in body:
        assert after_scan(request, NONE, body, 1_000).lane is Lane.FAST


@pytest.mark.parametrize(
    "request_line",
    ["PUT /a/_doc/1", "POST /a/_doc", "PUT /a/_create/1", "POST /a/_update/1", "POST /_bulk", "PUT /a/_bulk",
     "POST /_reindex", "POST /a/_update_by_query", "POST /_bulk/stream"],
)  # fmt: skip
def test_writes_are_plain_only_while_no_pipeline_is_ours(request_line: str) -> None:
    assert lane(request_line, NONE) is Lane.FAST
    assert lane(request_line, OURS) is Lane.SLOW
    assert lane(request_line, UNKNOWN) is Lane.SLOW


def test_verdicts_open_the_fast_lane_for_single_documents() -> None:
    now = [0.0]
    verdicts = Verdicts(lambda: now[0])
    assert choose(head("POST /a/_doc"), OURS, verdicts)[:2] == (Lane.SLOW, "a")
    verdicts.learn("a", 5.0, 1)
    assert lane("POST /a/_doc", OURS, verdicts=verdicts) is Lane.FAST
    assert lane("PUT /%61/_doc/1", OURS, verdicts=verdicts) is Lane.FAST
    assert lane("PUT /a/_doc/1?pipeline=other", OURS, verdicts=verdicts) is Lane.FAST
    assert lane("PUT /a/_doc/1?pipeline=embed", OURS, verdicts=verdicts) is Lane.SLOW
    assert lane("PUT /a/_doc/1?refresh&p%69peline=embed", OURS, verdicts=verdicts) is Lane.SLOW
    assert lane("PUT /a/_doc/1;x?a=b;pipeline=embed", OURS, verdicts=verdicts) is Lane.SLOW
    assert lane("POST /b/_doc", OURS, verdicts=verdicts) is Lane.SLOW
    assert lane("POST /a/_bulk", OURS, verdicts=verdicts) is Lane.SLOW
    assert choose(head("POST /c/_doc?pipeline=other"), OURS, verdicts)[:2] == (Lane.SLOW, None)
    now[0] = 6.0
    assert lane("POST /a/_doc", OURS, verdicts=verdicts) is Lane.SLOW


def test_a_new_table_makes_verdicts_void() -> None:
    verdicts = Verdicts(lambda: 0.0)
    verdicts.clear("a", 1)
    verdicts.learn("a", 5.0, 1)
    assert verdicts.clear("a", 1)
    assert not verdicts.clear("a", 2)
    assert not verdicts.clear("a", 1)
    verdicts.learn("a", 5.0, 7)
    verdicts.learn("a", float("nan"), 1)
    assert not verdicts.clear("a", 1)


def test_verdicts_are_bounded() -> None:
    now = [0.0]
    verdicts = Verdicts(lambda: now[0], capacity=10)
    verdicts.clear("", 1)
    for number in range(25):
        verdicts.learn(str(number), 5.0, 1)
        assert len(verdicts) <= 10
    assert verdicts.clear("24", 1)
    now[0] = 9.0
    verdicts.learn("z", 5.0, 1)
    assert len(verdicts) <= 10


@pytest.mark.parametrize(
    "path",
    ["/a/../_cat", "/a/..%2f_cat", "/a/%2e%2e/_cat", "/./_search", "/a/%2E/_search", "/_plugins%2F_ml/models",
     "/_plugins%2f_ml", "/x/..", "/a%2F_search", "/a%zz", "/a%", "/a//_search", "/_plugins//_ml/models",
     "/_ingest%2Fpipeline/x", "/a/%2F_search"],
)  # fmt: skip
def test_paths_that_can_be_read_in_two_ways_are_refused(path: str) -> None:
    for _ in range(2):
        with pytest.raises(BadRequest):
            route(b"POST", path.encode())


@pytest.mark.parametrize(
    "path", ["/a/_doc/b%2Fc", "/a/_doc/b%2Fc%2F_search", "/a/_doc/%2520", "/a/_doc/..b", "/a/_doc/b/"]
)
def test_documents_may_have_slashes_in_their_ids(path: str) -> None:
    assert route(b"PUT", path.encode()) == (Work.WRITE, "a")


@given(path=st.text(st.sampled_from("/a_.%2fe5plugins<>"), max_size=24))
def test_routing_never_fails_in_another_way(path: str) -> None:
    try:
        found = route(b"PUT", b"/" + path.encode())
    except BadRequest:
        return
    assert isinstance(found.work, Work)


def test_parameters_are_taken_apart_as_the_cluster_does() -> None:
    assert parameters(b"a=b&c;d=e+f%20g&=x") == [(b"a", b"b"), (b"c", b""), (b"d", b"e f g"), (b"", b"x")]


WORDS = (b"neural", b"ml_inference")


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"query":{"match_all":{}}}', False), (b'{"query":{"neural":{}}}', True), (b'{"query":{"neural_sparse":{}}}', True),
     (b'{"query":{"\\u006eeural":{}}}', True), (b'{"query":{"n\\u0065ural":{}}}', True), (b'{"a":"caf\\u00e9"}', False),
     (b'{"a":"\\u4e2d\\u6587"}', False), (b'{"a":"line\\nbreak \\" quote"}', False), (b'query: {"\\x6eeural": 1}', True),
     ('{"query":{"neural":1}}'.encode("utf-16-le"), True), (b"", False)],
)  # fmt: skip
def test_words_are_found_however_they_are_written(body: bytes, expected: bool) -> None:
    assert suspicious(body, WORDS, None, 1_000) is expected
    assert suspicious(gzip.compress(body), WORDS, b"gzip", 1_000) is expected
    assert suspicious(zlib.compress(body), WORDS, b"deflate", 1_000) is expected


def test_bodies_that_cant_be_looked_into_are_suspicious() -> None:
    assert suspicious(b"x", WORDS, b"br", 1_000)
    assert suspicious(b"not gzip at all", WORDS, b"gzip", 1_000)
    assert suspicious(gzip.compress(b"a" * 5_000), WORDS, b"gzip", 1_000)
    assert not suspicious(gzip.compress(b"{") + gzip.compress(b"}"), WORDS, b"gzip", 1_000)
    assert suspicious(gzip.compress(b"{") + gzip.compress(b"neural}"), WORDS, b"gzip", 1_000)


@given(prefix=st.binary(max_size=200), suffix=st.binary(max_size=200), word=st.sampled_from(WORDS))
def test_a_word_never_slips_by(prefix: bytes, suffix: bytes, word: bytes) -> None:
    assert suspicious(gzip.compress(prefix + word + suffix), WORDS, b"gzip", 10_000)


def test_the_scan_uses_the_words_of_the_table() -> None:
    table = Table(version=1, words=(b"special",), known=True)
    request = head("POST /_search", body=b"x")
    assert after_scan(request, table, b'{"special":1}', 100).lane is Lane.SLOW
    assert after_scan(request, table, b'{"neural":1}', 100).lane is Lane.FAST


def test_table_reaches_the_reader(tmp_path: Path) -> None:
    reader = TableReader(tmp_path)
    assert not reader.current().known
    table = LaneTable(tmp_path)
    assert table.publish(ingest_pipelines=["b", "a"]) == 1
    reader = TableReader(tmp_path)
    assert reader.current() == Table(1, frozenset(("a", "b")), known=True)
    assert reader.current() is reader.current()
    table.publish(ingest_pipelines=[], search_pipelines=["s"], words=["neural", "x"])
    assert reader.current() == Table(2, frozenset(), frozenset(("s",)), (b"neural", b"x"), True)
    again = LaneTable(tmp_path)
    assert again.publish(ingest_pipelines=[]) == 3
    assert reader.current().version == 3
    for one in (table, again, reader):
        one.close()


def test_a_broken_table_counts_as_none(tmp_path: Path) -> None:
    table, reader = LaneTable(tmp_path), TableReader(tmp_path)
    table.publish(ingest_pipelines=["a"])
    assert reader.current().known
    version = table.publish(ingest_pipelines=[])
    (tmp_path / "lanes.json").write_text("{")
    assert not reader.current().known
    (tmp_path / "lanes.json").write_text(json.dumps({"version": version}))
    table.publish(ingest_pipelines=["c"])
    assert reader.current().ingest_pipelines == {"c"}
    table.close()
    reader.close()
