"""One set of rules for documents, kept by the cluster and by the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.domain.model import Model, ModelChunk, chunk_id
from bridge.domain.names import FunctionName, TaskType
from bridge.domain.task import Claim, ClaimState
from bridge.errors import VersionConflict
from bridge.store.cluster import Cluster, ClusterConfig
from bridge.store.cluster_documents import ClusterDocuments
from bridge.store.documents import Documents, Version
from bridge.store.in_memory import InMemoryDocuments
from bridge.store.indices import ensure, load_template
from bridge.store.stores import IS_CHUNK, IS_MODEL

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["memory", pytest.param("cluster", marks=pytest.mark.integration)])
async def claims(request: pytest.FixtureRequest) -> AsyncIterator[Documents[Claim]]:
    if request.param == "memory":
        yield InMemoryDocuments(Claim, instant=False)
        return
    url, prefix = request.getfixturevalue("cluster_url"), request.getfixturevalue("index_prefix")
    cluster = Cluster(ClusterConfig(urls=(url,)))
    await ensure(cluster, prefix + "bridge-claim", load_template("bridge-claim"))
    yield ClusterDocuments(cluster, prefix + "bridge-claim", Claim)
    await cluster.close()


def claim(place: int = 1, **fields: Any) -> Claim:
    return Claim(task_type=TaskType.REGISTER_MODEL, place=place, **fields)


async def test_what_was_written_is_read_back(claims: Documents[Claim]) -> None:
    value = claim(7, input={"url": "https://x/y.zip", "deep": {"n": [1, 2, None]}}, last_error="é\n\U0001f600")
    created = await claims.create(value, id="a/b c%2F?#é")
    assert await claims.get("a/b c%2F?#é") == created
    assert created.value == value


async def test_absent_is_none(claims: Documents[Claim]) -> None:
    assert await claims.get("nothing") is None


async def test_an_id_is_made(claims: Documents[Claim]) -> None:
    one, two = await claims.create(claim()), await claims.create(claim())
    assert one.id != two.id
    assert len(one.id) == 20
    assert one.id[0] not in "-_"


async def test_create_refuses_what_exists(claims: Documents[Claim]) -> None:
    await claims.create(claim(1), id="a")
    with pytest.raises(VersionConflict):
        await claims.create(claim(1), id="a")
    stands = await claims.get("a")
    assert stands is not None
    assert stands.value.place == 1


async def test_replace_moves_the_version_on_and_refuses_the_old_one(claims: Documents[Claim]) -> None:
    first = await claims.create(claim(1))
    second = await claims.replace(first, claim(2))
    assert second.version > first.version
    with pytest.raises(VersionConflict):
        await claims.replace(first, claim(3))
    assert await claims.get(first.id) == second


async def test_replacing_with_the_same_content_is_still_a_write(claims: Documents[Claim]) -> None:
    first = await claims.create(claim(1))
    await claims.replace(first, first.value)
    with pytest.raises(VersionConflict):
        await claims.replace(first, first.value)


async def test_replace_refuses_what_was_deleted(claims: Documents[Claim]) -> None:
    gone = await claims.create(claim(1))
    assert await claims.delete(gone.id)
    with pytest.raises(VersionConflict):
        await claims.replace(gone, claim(2))
    assert await claims.get(gone.id) is None


async def test_a_document_made_again_has_a_newer_version(claims: Documents[Claim]) -> None:
    first = await claims.create(claim(1), id="a")
    await claims.delete("a")
    again = await claims.create(claim(1), id="a")
    assert again.version > first.version
    with pytest.raises(VersionConflict):
        await claims.replace(first, claim(2))


async def test_of_many_replaces_each_has_its_own_answer(claims: Documents[Claim]) -> None:
    old = [await claims.create(claim(n)) for n in range(3)]
    moved = await claims.replace(old[1], claim(10))
    answers = await claims.replace_many([(stored, claim(20 + n)) for n, stored in enumerate(old)])
    assert [answer is None for answer in answers] == [False, True, False]
    assert await claims.get(old[0].id) == answers[0]
    assert await claims.get(old[1].id) == moved
    assert list(await claims.replace_many([])) == []


async def test_one_of_many_racers_wins(claims: Documents[Claim]) -> None:
    stored = await claims.create(claim(0))
    answers = await asyncio.gather(*(claims.replace_many([(stored, claim(n))]) for n in range(1, 9)))
    won = [answer[0] for answer in answers if answer[0] is not None]
    assert len(won) == 1
    assert await claims.get(stored.id) == won[0]


async def test_put_writes_whatever_stands_there(claims: Documents[Claim]) -> None:
    first = await claims.put("a", claim(1))
    second = await claims.put("a", claim(2))
    assert second.version > first.version
    assert await claims.get("a") == second


async def test_delete_says_whether_it_was_there(claims: Documents[Claim]) -> None:
    stored = await claims.create(claim(1))
    assert await claims.delete(stored.id)
    assert not await claims.delete(stored.id)
    assert not await claims.delete(stored.id, version=stored.version)


async def test_delete_of_a_version_refuses_a_newer_one(claims: Documents[Claim]) -> None:
    first = await claims.create(claim(1))
    second = await claims.replace(first, claim(2))
    with pytest.raises(VersionConflict):
        await claims.delete(first.id, version=first.version)
    assert await claims.delete(first.id, version=second.version)


async def test_searches_see_what_was_refreshed(claims: Documents[Claim]) -> None:
    seen = await claims.create(claim(1), refresh=True)
    assert await claims.search({"match_all": {}}) == [seen]
    later = await claims.create(claim(2))
    await claims.refresh()
    assert await claims.search({"match_all": {}}, sort=[{"place": "desc"}]) == [later, seen]
    await claims.delete(seen.id, refresh=True)
    assert await claims.search({"match_all": {}}) == [later]


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"match_all": {}}, [1, 2, 3, 4]),
        ({"term": {"state": "HELD"}}, [2, 4]),
        ({"term": {"place": {"value": 3}}}, [3]),
        ({"terms": {"holder": ["n1", "n9"]}}, [2]),
        ({"range": {"place": {"gte": 2, "lt": 4}}}, [2, 3]),
        ({"range": {"place": {"gt": 2}}}, [3, 4]),
        ({"ids": {"values": ["c1", "c4", "c9"]}}, [1, 4]),
        ({"exists": {"field": "holder"}}, [2, 4]),
        ({"bool": {"must": [{"exists": {"field": "holder"}}], "must_not": [{"term": {"holder": "n1"}}]}}, [4]),
        ({"bool": {"should": [{"term": {"place": 1}}, {"term": {"holder": "n2"}}]}}, [1, 4]),
        ({"bool": {"filter": {"term": {"state": "OPEN"}}, "should": [{"term": {"place": 1}}]}}, [1, 3]),
        ({"bool": {"filter": [{"term": {"task_type": "DEPLOY_MODEL"}}]}}, []),
    ],
)
async def test_queries(claims: Documents[Claim], query: dict[str, Any], places: list[int]) -> None:
    holders = {2: "n1", 4: "n2"}
    for place in (3, 1, 4, 2):
        state = ClaimState.HELD if place in holders else ClaimState.OPEN
        await claims.create(claim(place, state=state, holder=holders.get(place)), id=f"c{place}")
    await claims.refresh()
    found = await claims.search(query, sort=[{"place": "asc"}])
    assert [stored.value.place for stored in found] == places
    assert sorted(await claims.ids(query)) == [f"c{place}" for place in places]
    assert [stored.value.place for stored in await claims.search(query, size=1, sort=[{"place": "desc"}])] == places[
        -1:
    ]


async def test_fields_can_be_left_out_of_a_search(claims: Documents[Claim]) -> None:
    await claims.create(claim(1, input={"big": "x" * 1000}, holder="n"), refresh=True)
    (found,) = await claims.search({"match_all": {}}, exclude=["input"])
    assert found.value == claim(1, holder="n")


async def test_a_search_carries_versions_that_writes_accept(claims: Documents[Claim]) -> None:
    await claims.create(claim(1), refresh=True)
    (found,) = await claims.search({"match_all": {}})
    assert isinstance(found.version, Version)
    assert (await claims.replace(found, claim(2))).version > found.version


@pytest.mark.parametrize("kind", ["memory", pytest.param("cluster", marks=pytest.mark.integration)])
async def test_models_and_chunks_share_an_index_and_searches_keep_them_apart(
    kind: str, request: pytest.FixtureRequest
) -> None:
    model = Model(name="m", model_group_id="g")
    chunk = ModelChunk(algorithm=FunctionName.TEXT_EMBEDDING, model_id="m1", chunk_number=0, model_content="eA==")
    if kind == "memory":
        models, chunks = InMemoryDocuments(Model, only=IS_MODEL), InMemoryDocuments(ModelChunk, only=IS_CHUNK)
        await models.create(model, id="m1")
        await chunks.create(chunk, id=chunk_id("m1", 0))
        assert [m.id for m in await models.search({"match_all": {}})] == ["m1"]
        assert [c.id for c in await chunks.search({"term": {"model_id": "m1"}})] == ["m1_0"]
        return
    cluster = Cluster(ClusterConfig(urls=(request.getfixturevalue("cluster_url"),)))
    index = request.getfixturevalue("index_prefix") + "model"
    await ensure(cluster, index, load_template("model"))
    stored = ClusterDocuments(cluster, index, Model, only=IS_MODEL)
    pieces = ClusterDocuments(cluster, index, ModelChunk, only=IS_CHUNK)
    await stored.create(model, id="m1")
    await pieces.create(chunk, id=chunk_id("m1", 0), refresh=True)
    assert [m.id for m in await stored.search({"match_all": {}})] == ["m1"]
    assert [c.id for c in await pieces.search({"term": {"model_id": "m1"}})] == ["m1_0"]
    assert (await stored.get("m1_0"), await pieces.get("m1")) == (None, None)
    await cluster.close()
