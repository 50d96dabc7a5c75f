"""Whatever happens in between, in the end the nodes hold what was asked for last, and the documents say so."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from model_pair import Pair, until

from bridge.domain.names import TaskState
from bridge.errors import Unavailable


async def test_a_load_cut_short_is_no_failure_of_the_model(pair: Pair) -> None:
    one = await pair.start(0)
    model_id = await pair.model(one)
    plain, cuts = pair.engines[0].load, [2]

    async def load(*asked: Any, **more: Any) -> Any:
        if cuts[0]:
            cuts[0] -= 1
            raise Unavailable("the inference process died")
        return await plain(*asked, **more)

    pair.engines[0].load = load  # type: ignore[method-assign]
    assert (await one.deploy(model_id))["state"] == "COMPLETED"
    cuts[0] = 100
    await one.call("POST", f"/models/{model_id}/_undeploy")
    task = await one.deploy(model_id)
    assert (task["state"], "the inference process died" in task["error"]) == ("FAILED", True)


async def test_a_document_that_nobody_foresaw_stops_no_other(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await pair.start(0)
    strange, plain = await pair.model(one), await pair.model(one)
    consider = one.runtime.reconciler._consider

    def considered(stored: Any) -> bool:
        if stored.id == strange:
            raise KeyError("what is this?")
        return consider(stored)

    monkeypatch.setattr(one.runtime.reconciler, "_consider", considered)
    waiting = (await one.call("POST", f"/models/{strange}/_deploy")).body["task_id"]
    assert (await one.deploy(plain))["state"] == "COMPLETED"
    await one.call("POST", f"/models/{strange}/_undeploy")
    assert (await one.ended(waiting))["state"] == "FAILED"


class Chaos:
    """Clients, engines and other writers, all at random and at once; `wanted` is what was asked for last."""

    def __init__(self, pair: Pair, models: list[str], rng: random.Random) -> None:
        self.pair = pair
        self.rng = rng
        self.models = models
        self.wanted: dict[str, bool] = dict.fromkeys(models, False)
        self.tasks: list[str] = []
        self.lock = {model: asyncio.Lock() for model in models}

    async def step(self) -> None:
        model, bridge = self.rng.choice(self.models), self.rng.choice(self.pair.bridges)
        act = self.rng.choice([self.deploy, self.deploy, self.undeploy, self.die, self.fail, self.hold])
        await act(model, bridge)
        await asyncio.sleep(self.rng.uniform(0.0, 0.1))

    async def deploy(self, model: str, bridge: Any) -> None:
        async with self.lock[model]:
            answer = await bridge.call("POST", f"/models/{model}/_deploy")
            assert answer.status == 200, answer.body
            self.tasks.append(answer.body["task_id"])
            self.wanted[model] = True

    async def undeploy(self, model: str, bridge: Any) -> None:
        async with self.lock[model]:
            answer = await bridge.call("POST", f"/models/{model}/_undeploy")
            assert answer.status == 200, answer.body
            self.wanted[model] = False

    async def die(self, _: str, __: Any) -> None:
        await self.rng.choice(self.pair.engines).die()

    async def fail(self, model: str, _: Any) -> None:
        failing = self.rng.choice(self.pair.engines).failing
        if not failing.pop(model, None):
            failing[model] = "graph is broken"

    async def hold(self, _: str, __: Any) -> None:
        gate = self.rng.choice(self.pair.engines).gate
        if gate.is_set():
            gate.clear()
            await asyncio.sleep(0.1)
        gate.set()

    async def calm(self) -> None:
        for engine in self.pair.engines:
            engine.failing.clear()
            engine.gate.set()


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_any_storm_all_is_as_it_was_asked_for(pair: Pair, seed: int) -> None:
    for number in range(2):
        await pair.start(number)
    models = [await pair.model(pair.bridges[0]) for _ in range(3)]
    chaos = Chaos(pair, models, random.Random(seed))

    async def client() -> None:
        for _ in range(12):
            await chaos.step()

    await asyncio.gather(*(client() for _ in range(4)))
    await chaos.calm()

    async def settled() -> bool:
        for model in models:
            state = ("DEPLOYED", 2) if chaos.wanted[model] else ("UNDEPLOYED", 0)
            held = [model in engine.loaded for engine in pair.engines]
            if await pair.state(model) != state or held != [chaos.wanted[model]] * 2:
                return False
        return True

    await until(settled, 60.0)
    for task in chaos.tasks:
        ended = await pair.bridges[0].ended(task)
        assert TaskState(ended["state"]).final
        assert ended["state"] == "COMPLETED" or ended["error"]
