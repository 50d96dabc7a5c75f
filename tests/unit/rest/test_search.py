"""Searches over the bridge's own indices: what is added to them, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bridge.domain.model import OWN_FIELDS
from bridge.rest.errors import error_middleware
from bridge.rest.search import search
from bridge.rest.services import SERVICES
from bridge.store.cluster import Answer
from bridge.wire import loads

ONLY = {"term": {"access": "public"}}
QUERY = {"match": {"name": "a"}}


class Index:
    """Refuses what asks for `refused`, unless it comes bare; notes all that it is asked."""

    def __init__(self) -> None:
        self.cluster = self
        self.asked: list[bytes] = []
        self.refuses: set[int] = set()
        self.found: Any = {"hits": {"hits": []}}

    async def attempt(self, method: str, path: str, *, params: Any, body: bytes, idempotent: bool) -> Answer:
        self.asked.append(body)
        if len(self.asked) in self.refuses:
            return Answer(400, {"error": {"reason": f"refusal {len(self.asked)}"}, "status": 400}, {})
        return Answer(200, self.found, {})


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    yield Index()


async def ask(index: Index, body: str, query: str = "", **options: Any) -> tuple[int, Any]:
    async def handle(request: web.Request) -> web.Response:
        return await search(request, "models", **options)

    app = web.Application(middlewares=[error_middleware])
    app[SERVICES] = index  # type: ignore[misc]
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/{query}", data=body.encode(), headers=headers) as answer,
        ):
            return answer.status, await answer.json()
    finally:
        await runner.cleanup()


async def test_what_needs_nothing_goes_as_it_came(index: Index) -> None:
    await ask(index, '{ "size" : 1e0 }')
    assert index.asked == [b'{ "size" : 1e0 }']


async def test_the_filter_stands_beside_the_callers_query(index: Index) -> None:
    await ask(index, '{"query": {"match": {"name": "a"}}, "size": 3}', only=ONLY, never=[{"term": {"is_hidden": True}}])
    asked = loads(index.asked[0])
    never = [{"term": {"is_hidden": True}}]
    assert asked == {"query": {"bool": {"must": [QUERY], "must_not": never, "filter": [ONLY]}}, "size": 3}


async def test_a_refusal_is_the_one_of_the_bare_search(index: Index) -> None:
    index.refuses = {1, 2}
    status, told = await ask(index, '{"query": 1}', only=ONLY)
    assert (status, told["error"]["reason"]) == (400, "refusal 2")
    assert index.asked[1] == b'{"query": 1}'


async def test_what_only_the_filtered_search_meets_is_said_and_the_bare_answer_shown_to_nobody(index: Index) -> None:
    index.refuses = {1}
    status, told = await ask(index, "{}", only=ONLY)
    assert (status, told["error"]["reason"]) == (400, "refusal 1")


@pytest.mark.parametrize(
    "body",
    [
        '{"suggest": {}}',
        '{"aggs": {"a": {"global": {}}}}',
        '{"aggregations": {"a": {"terms": {"field": "x"}, "aggs": {"b": {"global": {}}}}}}',
    ],
)
async def test_what_looks_past_the_filter_is_refused_where_there_is_one(index: Index, body: str) -> None:
    assert (await ask(index, body, only=ONLY))[0] == 400
    assert index.asked == []
    assert (await ask(index, body))[0] == 200


HIDDEN = {"hide": ("content", *OWN_FIELDS), "secret": ("connector.credential",)}


@pytest.mark.parametrize("source", ["true", "[]", '["*"]', '"bridge_plan"', '{"excludes":"x"}', '{"includes":["b*"]}'])
async def test_the_bridges_own_fields_are_never_asked_for(index: Index, source: str) -> None:
    await ask(index, f'{{"_source": {source}}}', **HIDDEN)
    assert loads(index.asked[0])["_source"]["excludes"][-2:] == ["connector.credential", "bridge_plan"]


async def test_what_stands_elsewhere_in_an_answer_is_taken_out(index: Index) -> None:
    document = {"name": "a", "bridge_plan": 3, "connector": {"name": "c", "credential": {"key": "secret"}}}
    fields = {"name": ["a"], "bridge_plan": [3], "connector.credential.key": ["secret"], "connector.name": ["c"]}
    hit = {"_id": "1", "_source": document, "fields": fields}
    index.found = {"hits": {"hits": [hit]}, "aggregations": {"newest": {"hits": {"hits": [hit]}}}}
    shown = {"_id": "1", "_source": {"name": "a", "connector": {"name": "c"}}}
    shown["fields"] = {"name": ["a"], "connector.name": ["c"]}
    _, told = await ask(index, "{}", **HIDDEN)
    assert told == {"hits": {"hits": [shown]}, "aggregations": {"newest": {"hits": {"hits": [shown]}}}}
    assert (await ask(index, "{}"))[1] == index.found


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("foo", "invalid Content-Type header [foo]"),
        ("", "invalid Content-Type header []"),
        ("application/json,foo", "invalid Content-Type header [application/json,foo]"),
        ("text/plain", "Unknown value for source_content_type [text/plain]"),
        ("application/json", None),
        ("APPLICATION/JSON", None),
        ("foo&source_content_type=application/json", None),
    ],
)
async def test_the_type_of_a_source(index: Index, kind: str, reason: str | None) -> None:
    status, told = await ask(index, "", f"?source={{}}&source_content_type={kind}")
    assert (status, told.get("error", {}).get("reason")) == (200 if reason is None else 400, reason)
