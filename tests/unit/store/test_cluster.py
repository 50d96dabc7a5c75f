"""The cluster's client against a server that misbehaves: only whole answers count, and retries are few."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bridge.domain.names import TaskType
from bridge.domain.task import Claim
from bridge.errors import ClusterError, ClusterUnavailable, InvalidRequest, VersionConflict
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.cluster_documents import ClusterDocuments
from bridge.store.documents import Stored, Version

pytestmark = pytest.mark.timeout(30)

HALF = "half"
RESET = "reset"


class Stub:
    """Answers each request with the next of `script`: (status, body), text, HALF (a cut body) or RESET."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.seen.append((method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))))
        step = self.script.pop(0) if self.script else (200, {})
        if step == RESET:
            return False
        if step == HALF:
            writer.write(
                b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"found": false,'
            )
            await writer.drain()
            return False
        status, body = step
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\nwarning: 299 x\r\n\r\n".encode() + raw)
        await writer.drain()
        return True


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def connect(stub: Stub) -> AsyncIterator[Callable[..., Cluster]]:
    opened: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        opened.append(Cluster(ClusterConfig(**{"urls": (stub.url,), "retry_pause": 0.01, **options})))
        return opened[-1]

    yield make
    for cluster in opened:
        await cluster.close()


BLOCKED = (403, {"error": {"type": "cluster_block_exception", "reason": "index [x] blocked by: [...]"}, "status": 403})
BAD = [HALF, RESET, (429, {}), (502, "<html>"), (503, "no"), (504, {}), (200, "<html>"), (404, "nope"), BLOCKED]


@pytest.mark.parametrize("bad", BAD)
async def test_what_is_not_a_whole_answer_is_asked_again(stub: Stub, connect: Callable[..., Cluster], bad: Any) -> None:
    stub.script = [bad, bad, (200, {"ok": True})]
    answer = await connect().request("GET", "/x")
    assert answer.body == {"ok": True}
    assert len(stub.seen) == 3


@pytest.mark.parametrize("bad", BAD)
async def test_retries_are_bounded(stub: Stub, connect: Callable[..., Cluster], bad: Any) -> None:
    stub.script = [bad] * 10
    with pytest.raises(ClusterUnavailable, match="no whole answer"):
        await connect(attempts=3).request("GET", "/x")
    assert len(stub.seen) == 3


@pytest.mark.parametrize(("bad", "tries"), [(HALF, 1), (RESET, 1), ((503, {}), 1), ((429, {}), 2)])
async def test_a_write_that_may_have_been_carried_out_is_not_repeated(
    stub: Stub, connect: Callable[..., Cluster], bad: Any, tries: int
) -> None:
    stub.script = [bad, (200, {})]
    try:
        await connect().request("POST", "/x/_update_by_query", body={})
    except ClusterUnavailable:
        assert tries == 1
    assert len(stub.seen) == tries


async def test_nobody_there_is_unavailable(connect: Callable[..., Cluster]) -> None:
    with pytest.raises(ClusterUnavailable):
        await connect(urls=("http://127.0.0.1:9",), attempts=2).request("GET", "/")


async def test_another_address_is_used_when_one_is_dead(stub: Stub, connect: Callable[..., Cluster]) -> None:
    cluster = connect(urls=("http://127.0.0.1:9", stub.url))
    assert [(await cluster.request("GET", "/")).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("status", [400, 403, 404, 409])
async def test_error_answers_keep_their_body(stub: Stub, connect: Callable[..., Cluster], status: int) -> None:
    body = {"error": {"type": "some_exception", "reason": "why"}, "status": status}
    stub.script = [(status, body)]
    with pytest.raises(ClusterError) as raised:
        await connect().request("PUT", "/x", body={})
    assert (raised.value.cluster_status, raised.value.body, raised.value.reason) == (status, body, "why")


async def test_a_refusal_in_plain_text_stands(stub: Stub, connect: Callable[..., Cluster]) -> None:
    stub.script = [(401, "Unauthorized")]
    with pytest.raises(ClusterError) as raised:
        await connect().request("GET", "/")
    assert (raised.value.cluster_status, raised.value.body) == (401, "Unauthorized")


SECRET = "s3cret/word"


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"user": "u", "password": SECRET}, "Basic " + base64.b64encode(f"u:{SECRET}".encode()).decode()),
        ({"token": SECRET}, f"Bearer {SECRET}"),
        ({}, None),
    ],
)
async def test_credentials_are_sent_and_never_shown(
    stub: Stub,
    connect: Callable[..., Cluster],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
    header: str | None,
) -> None:
    cluster = connect(**options, attempts=1)
    stub.script = [(200, {}), (403, {}), RESET]
    shown = repr(cluster) + repr(cluster.config)
    with caplog.at_level(logging.DEBUG):
        await cluster.request("GET", "/")
        for error in (ClusterError, ClusterUnavailable):
            with pytest.raises(error) as raised:
                await cluster.request("GET", "/")
            shown += repr(raised.value) + str(raised.value)
    assert stub.seen[0][2].get("authorization") == header
    assert SECRET not in shown + caplog.text


async def test_credentials_in_a_url_move_out_of_it(stub: Stub, connect: Callable[..., Cluster]) -> None:
    cluster = connect(urls=(stub.url.replace("http://", "http://me:p%40ss@") + "/",))
    await cluster.request("GET", "/")
    assert cluster.config.urls == (stub.url,)
    assert stub.seen[0][2]["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert "p@ss" not in repr(cluster.config)


async def test_callers_headers_stand_before_the_bridges_own(stub: Stub, connect: Callable[..., Cluster]) -> None:
    await connect(token="own").request("GET", "/x", headers={"Authorization": "Basic theirs"})
    assert stub.seen[0][2]["authorization"] == "Basic theirs"


def test_a_config_needs_a_real_url() -> None:
    for urls in ((), ("localhost:9200",), ("ftp://x",), ("http://",)):
        with pytest.raises(InvalidRequest):
            ClusterConfig(urls=urls)


def test_certificate_files_that_cannot_be_read_are_named() -> None:
    with pytest.raises(InvalidRequest, match="certificate"):
        Cluster(ClusterConfig(urls=("https://x",), ca="/nowhere/ca.pem"))


async def test_requests_are_signed_for_aws(
    stub: Stub, connect: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    await connect(aws_region="eu-west-1").request("POST", "/x/_search", body={"query": {}}, params={"a": "b"})
    _, path, headers, body = stub.seen[0]
    assert path == "/x/_search?a=b"
    assert body == b'{"query":{}}'
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/es/aws4_request" in headers["authorization"]
    assert SECRET not in headers["authorization"]


async def test_waiting_for_the_cluster(stub: Stub, connect: Callable[..., Cluster]) -> None:
    stub.script = [(503, "not initialized"), (503, {}), (200, {"status": "green"})]
    await connect(attempts=1).wait_until_up(pause=0.01)
    assert len(stub.seen) == 3
    stub.script = [(401, "Unauthorized")]
    with pytest.raises(ClusterError):
        await connect(attempts=1).wait_until_up(pause=0.01)


async def test_info(stub: Stub, connect: Callable[..., Cluster]) -> None:
    root = {"cluster_name": "c", "version": {"number": "2.19.4", "distribution": "opensearch"}}
    plugins = [{"name": "opensearch-knn"}, {"name": "opensearch-ml"}, {"name": "opensearch-security"}]
    stub.script = [(200, root), (200, {"nodes": {"n": {"plugins": plugins}}}), (200, root), (403, {})]
    cluster = connect()
    full, hidden = await cluster.info(), await cluster.info()
    assert (full.version, full.has_knn, full.has_real_ml_commons, full.has_security) == ("2.19.4", True, True, True)
    assert (hidden.version, hidden.plugins) == ("2.19.4", frozenset())


# What documents do after a lost answer

CLAIM = Claim(task_type=TaskType.DEPLOY_MODEL, place=5, holder="me")
CONFLICT = (409, {"error": {"type": "version_conflict_engine_exception", "reason": "version conflict"}, "status": 409})
OLD = Stored("a", Claim(task_type=TaskType.DEPLOY_MODEL, place=5), Version(1, 3))


def found(place: int, holder: str, seq_no: int) -> tuple[int, dict[str, Any]]:
    source = {"task_type": "DEPLOY_MODEL", "state": "OPEN", "place": place, "holder": holder, "attempts": 0, "beats": 0}
    return 200, {"_id": "a", "found": True, "_seq_no": seq_no, "_primary_term": 1, "_source": source}


@pytest.fixture
def claims(connect: Callable[..., Cluster]) -> ClusterDocuments[Claim]:
    return ClusterDocuments(connect(), "i", Claim)


@pytest.mark.parametrize("lost", [HALF, RESET, (504, {}), (200, "{")])
async def test_an_own_write_whose_answer_was_lost_is_recognised(
    stub: Stub, claims: ClusterDocuments[Claim], lost: Any
) -> None:
    stub.script = [lost, CONFLICT, found(5, "me", 7)]
    assert await claims.create(CLAIM, id="a") == Stored("a", CLAIM, Version(1, 7))
    stub.script = [lost, CONFLICT, found(5, "me", 7)]
    assert await claims.replace(OLD, CLAIM) == Stored("a", CLAIM, Version(1, 7))
    stub.script = [lost, (200, {"items": [{"index": {"status": 409}}]}), found(5, "me", 7)]
    assert await claims.replace_many([(OLD, CLAIM)]) == [Stored("a", CLAIM, Version(1, 7))]
    stub.script = [lost, (404, {"result": "not_found"})]
    assert await claims.delete("a")
    stub.script = [lost, CONFLICT, (404, {"found": False})]
    assert await claims.delete("a", version=Version(1, 3))


@pytest.mark.parametrize("there", [found(5, "other", 7), found(5, "me", 3), (404, {"found": False})])
async def test_a_strangers_write_after_a_lost_answer_is_a_conflict(
    stub: Stub, claims: ClusterDocuments[Claim], there: Any
) -> None:
    stub.script = [RESET, CONFLICT, there]
    with pytest.raises(VersionConflict):
        await claims.replace(OLD, CLAIM)


async def test_a_conflict_without_a_lost_answer_is_not_looked_into(stub: Stub, claims: ClusterDocuments[Claim]) -> None:
    stub.script = [CONFLICT]
    with pytest.raises(VersionConflict):
        await claims.create(CLAIM, id="a")
    assert len(stub.seen) == 1


async def test_nobody_has_the_empty_id(stub: Stub, claims: ClusterDocuments[Claim]) -> None:
    assert await claims.get("") is None
    assert not await claims.delete("")
    assert stub.seen == []


async def test_a_missing_index_reads_as_empty_and_a_strange_404_does_not(
    stub: Stub, claims: ClusterDocuments[Claim]
) -> None:
    missing = (404, {"error": {"type": "index_not_found_exception", "reason": "no such index [i]"}, "status": 404})
    stub.script = [missing, missing, (404, {"message": "no route"})]
    assert await claims.get("a") is None
    assert await claims.search({"match_all": {}}) == []
    with pytest.raises(ClusterError):
        await claims.get("a")


async def test_an_unreadable_document_does_not_spoil_a_search(stub: Stub, claims: ClusterDocuments[Claim]) -> None:
    good = found(5, "me", 7)[1]
    bad = {**good, "_id": "b", "_source": {"place": "not a number"}}
    stub.script = [(200, {"hits": {"hits": [bad, good]}})]
    assert [stored.id for stored in await claims.search({"match_all": {}})] == ["a"]


async def test_items_turned_away_for_load_count_as_not_written(stub: Stub, claims: ClusterDocuments[Claim]) -> None:
    stub.script = [(200, {"items": [{"index": {"status": 429}}]})]
    assert await claims.replace_many([(OLD, CLAIM)]) == [None]
    stub.script = [(200, {"items": [{"index": {"status": 403, "error": {"type": "x", "reason": "blocked"}}}]})]
    with pytest.raises(ClusterError, match="blocked"):
        await claims.replace_many([(OLD, CLAIM)])
