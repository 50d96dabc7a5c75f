"""Whose turn it is to load."""

from __future__ import annotations

import asyncio

from model_pair import until

from bridge.background import Background
from bridge.models.turns import Turns


class Loads:
    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.background = Background()

    def start(self, name: str, *, again: bool = False) -> None:
        self.ends[name] = asyncio.Event()
        self.background.start(self._load(name, again), name=name)

    async def _load(self, name: str, again: bool) -> None:
        async with self.turns.turn(again=again):
            self.begun.append(name)
            await self.ends[name].wait()


async def ticks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_first_tries_go_in_order_two_at_once_and_retries_apart() -> None:
    loads = Loads(Turns(lambda: 10))
    for name in ("a", "b", "c"):
        loads.start(name)
    for name in ("x", "y"):
        loads.start(name, again=True)
    await ticks()
    assert sorted(loads.begun) == ["a", "b", "x"]
    loads.ends["b"].set()
    loads.ends["x"].set()
    await ticks()
    assert sorted(loads.begun) == ["a", "b", "c", "x", "y"]
    await loads.background.close()


async def test_the_setting_can_only_narrow() -> None:
    limit = [1]
    loads = Loads(Turns(lambda: limit[0]))
    for name in ("a", "b", "c", "d"):
        loads.start(name)
    await ticks()
    assert loads.begun == ["a"]
    limit[0] = 10
    loads.ends["a"].set()
    await ticks()
    assert loads.begun == ["a", "b", "c"]
    await loads.background.close()


async def test_who_takes_too_long_gives_the_turn_and_goes_on() -> None:
    loads = Loads(Turns(lambda: 1, patience=0.05))
    loads.start("slow")
    loads.start("next")

    async def both() -> bool:
        return loads.begun == ["slow", "next"]

    await until(both)
    # Its end gives nothing back twice.
    loads.ends["slow"].set()
    loads.start("third")
    await ticks()
    loads.ends["next"].set()
    await ticks()
    assert loads.begun == ["slow", "next", "third"]
    await loads.background.close()


async def test_who_stops_waiting_loses_no_place() -> None:
    loads = Loads(Turns(lambda: 1))
    loads.start("a")
    await ticks()
    waiting = loads.background.start(loads._load("b", False), name="b")
    loads.ends["b"] = asyncio.Event()
    await ticks()
    waiting.cancel()
    loads.ends["a"].set()
    loads.start("c")
    await ticks()
    assert loads.begun == ["a", "c"]
    await loads.background.close()
