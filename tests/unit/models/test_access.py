"""Access control over documents: what is asked, filtered and remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from bridge.domain.caller import Caller
from bridge.domain.cluster_settings import ClusterSettings, FixedSettings
from bridge.domain.model import Model, ModelGroup
from bridge.domain.tensor import TextDocsInput
from bridge.errors import Conflict, Forbidden, InvalidRequest, NotFound
from bridge.models.access import KEEP_SECONDS, Access
from bridge.models.access_rules import read_fields
from bridge.models.groups import Groups, Registration
from bridge.store.matching import matches
from bridge.store.stores import Stores
from bridge.wire import to_document

ADA = Caller(name="ada", backend_roles=("research",))
BOB = Caller(name="bob", backend_roles=("sales",))
ADMIN = Caller(name="root", admin=True)


@dataclass
class House:
    stores: Stores
    access: Access
    groups: Groups
    now: list[float]

    async def group(self, caller: Caller, name: str, **body: Any) -> str:
        return await self.groups.create(ModelGroup(name=name), said=read_fields(body), caller=caller)

    async def model(self, group_id: str | None, id: str) -> None:
        await self.stores.models.create(Model(name=id, model_group_id=group_id), id=id)

    async def seen(self, query: dict[str, Any] | None, *documents: tuple[str, Any]) -> list[str]:
        assert query is not None
        return [name for name, document in documents if matches(query, name, document)]


@pytest.fixture
def house() -> House:
    return made(enabled=True)


def made(*, enabled: bool) -> House:
    stores, now = Stores.in_memory(), [0.0]
    settings = FixedSettings(ClusterSettings(model_access_control_enabled=enabled))
    access = Access(stores.groups, settings, stores.models, clock=lambda: now[0])
    return House(stores, access, Groups(stores.groups, stores.models, access), now)


async def test_a_private_group_is_its_owners(house: House) -> None:
    group = await house.group(ADA, "g")
    stored = await house.groups.get(group, caller=ADA)
    assert stored.value.access == "private"
    assert stored.value.owner is not None
    assert stored.value.owner["name"] == "ada"
    await house.access.check(ADA, group)
    await house.access.check(ADMIN, group)
    await house.access.check(None, group)
    with pytest.raises(Forbidden, match=r"operation on this model$"):
        await house.access.check(BOB, group)
    with pytest.raises(Forbidden, match=r"operation on this model group$"):
        await house.groups.get(group, caller=BOB)
    with pytest.raises(Forbidden, match="delete this model group"):
        await house.groups.delete(group, caller=BOB)
    with pytest.raises(InvalidRequest, match="permission to update"):
        await house.groups.update(group, {"description": "mine now"}, caller=BOB)
    with pytest.raises(NotFound, match="Fail to find model group"):
        await house.access.check(BOB, "nowhere")
    await house.access.check(BOB, None)


async def test_nobody_is_judged_while_access_control_is_off() -> None:
    house = made(enabled=False)
    group = await house.group(ADA, "g")
    stored = await house.groups.get(group, caller=BOB)
    assert (stored.value.access, stored.value.owner) == ("public", None)
    for query in (house.access.search_filter, house.access.group_filter, house.access.task_filter):
        assert await query(BOB) is None
    for said in ({"access_mode": "private"}, {"backend_roles": ["a"]}, {"add_all_backend_roles": False}):
        with pytest.raises(InvalidRequest, match="is disabled on your cluster"):
            await house.group(ADA, "h", **said)
        with pytest.raises(InvalidRequest, match="is disabled on your cluster"):
            await house.groups.update(group, {}, said=read_fields(said), caller=ADA)
        with pytest.raises(InvalidRequest, match="is disabled on your cluster"):
            await house.groups.admit(ADA, Registration(name="m"), read_fields(said))
    assert await house.groups.admit(ADA, Registration(name="m")) is None


async def test_searches_leave_out_what_is_not_the_callers(house: House) -> None:
    mine = await house.group(BOB, "mine")
    hers = await house.group(ADA, "hers")
    shared = await house.group(ADA, "shared", access_mode="public")
    for name, group in (("of-mine", mine), ("of-hers", hers), ("of-shared", shared), ("of-none", None)):
        await house.model(group, name)
    models = [(s.id, to_document(s.value)) for s in await house.stores.models.search({"match_all": {}})]
    chunk = ("of-hers_0", {"model_id": "of-hers", "chunk_number": 0})
    found = await house.seen(await house.access.search_filter(BOB), *models, chunk)
    assert sorted(found) == ["of-mine", "of-none", "of-shared"]
    groups = [(group, {}) for group in (mine, hers, shared)]
    assert await house.seen(await house.access.group_filter(BOB), *groups) == [mine, shared]
    tasks = [("1", {"model_id": "of-hers"}), ("2", {"model_id": "of-mine"}), ("3", {})]
    assert await house.seen(await house.access.task_filter(BOB), *tasks) == ["2", "3"]
    assert await house.access.search_filter(ADMIN) is None
    with pytest.raises(Forbidden):
        await house.access.check_model(BOB, "of-hers")
    await house.access.check_model(BOB, "gone")


async def test_a_predict_is_judged_by_a_group_that_is_seconds_old_at_most(house: House) -> None:
    group = await house.group(ADA, "g", access_mode="public")
    await house.model(group, "m")
    stored = await house.stores.models.get("m")
    assert stored is not None
    await house.access.admit(stored, TextDocsInput(text_docs=("x",)), BOB)
    await house.groups.update(group, {}, said=read_fields({"access_mode": "private"}), caller=ADA)
    house.now[0] = KEEP_SECONDS
    with pytest.raises(Forbidden):
        await house.access.admit(stored, TextDocsInput(text_docs=("x",)), BOB)
    await house.access.admit(stored, TextDocsInput(text_docs=("x",)), ADA)
    await house.access.admit(stored, TextDocsInput(text_docs=("x",)), None)


async def test_registering_into_groups(house: House) -> None:
    hers = await house.group(ADA, "taken")
    assert await house.groups.admit(ADA, Registration(name="x", model_group_id=hers)) == hers
    with pytest.raises(InvalidRequest, match="You don't have permissions"):
        await house.groups.admit(BOB, Registration(name="x", model_group_id=hers))
    with pytest.raises(InvalidRequest, match=r"name \{taken\} you provided is unavailable"):
        await house.groups.admit(BOB, Registration(name="taken"))
    with pytest.raises(InvalidRequest, match="Without a model group ID"):
        await house.groups.admit(BOB, Registration(name="taken", pretrained=True))
    with pytest.raises(NotFound):
        await house.groups.admit(BOB, Registration(name="x", model_group_id="nowhere"))
    made = await house.groups.admit(BOB, Registration(name="fresh"), read_fields({"backend_roles": ["sales"]}))
    assert made is not None
    stored = await house.groups.get(made)
    assert (stored.value.access, stored.value.backend_roles) == ("restricted", ("sales",))
    place = await house.groups.place("fresh", made)
    assert (place.group_id, place.version) == (made, 1)
    # What was made for a registration goes away with it.
    await house.groups.give_back(place)
    assert await house.stores.groups.get(made) is None


async def test_a_name_that_its_group_gave_up_is_free_again(house: House) -> None:
    first = await house.groups.place("name", None)
    await house.groups.update(first.group_id, {"name": "other", "description": "  "})
    second = await house.groups.place("name", None)
    assert second.group_id != first.group_id
    with pytest.raises(InvalidRequest, match="used by another model with ID"):
        await house.groups.update(second.group_id, {"name": "other"})
    await house.groups.update(second.group_id, {"name": "name"})
    await house.model(second.group_id, "m")
    with pytest.raises(Conflict):
        await house.groups.delete(second.group_id)
