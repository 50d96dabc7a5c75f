"""The same steps to the bridge and to the real ML Commons, compared; every intended difference has a reason.

A step's path, body and headers may hold `<name>`, which stands for what an earlier step captured on that side. Answers
compared by status, body and key order after ids, times, node names and the captured values have been replaced.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

ML = "/_plugins/_ml"
SKIPPED = (
    "_seq_no", "_version", "_shards", "_index", "took", "max_score", "_primary_term",
    # The reference adds one whenever it redeploys by itself, as it does some time after its own start.
    "auto_redeploy_retry_times",
)  # fmt: skip
_IDS = ("task_id", "model_id", "model_group_id", "connector_id", "worker_node", "planning_worker_nodes", "node")
DELETED = {"result": ("deleted",)}
"""For the `until` of a step that deletes a model: the reference's document lags behind an undeploy, and forbids it."""
_FINAL_WAIT = 0.1
_SETTLING = 10.0
"""Seconds for which a read that differs is asked again: documents follow what they tell of, on a busy machine late."""
_NAMED = re.compile(r"<([a-z][a-z0-9_]*)>")


@dataclass(frozen=True)
class Step:
    """One request.

    `capture` maps a name to a dotted path in the answer (`hits.hits.0._id`). `until` maps dotted paths to the values
    that end waiting: the step is repeated until one holds on that side. `skip` names keys that are left out of the
    comparison here, `unordered` leaves the order of keys out. `differs` gives the reason of an intended difference; the
    bridge's answer must then differ from the reference's, have status `status` (and `kind` as its error type).
    `rounded` compares numbers by so many digits.
    """

    name: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    capture: Mapping[str, str] = field(default_factory=dict)
    until: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    skip: Sequence[str] = ()
    unordered: bool = False
    differs: str | None = None
    status: int | None = None
    kind: str | None = None
    rounded: int = 3


def ended(name: str, task: str = "task", **options: Any) -> Step:
    """Wait for the captured task and compare how it ended; captures its model as `model` if asked by `capture`."""
    states = ("COMPLETED", "FAILED", "COMPLETED_WITH_ERROR", "CANCELLED")
    return Step(name, "GET", f"{ML}/tasks/<{task}>", until={"state": states}, **options)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass
class Side:
    """One of the two servers with its own ids. `names` may be filled before a scenario starts."""

    url: str
    session: aiohttp.ClientSession
    names: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0

    async def answer(self, step: Step) -> Answer:
        """Send the step, again and again where it waits for something."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        while True:
            got = await self._once(step)
            if not step.until or any(found_at(got.body, at) in values for at, values in step.until.items()):
                break
            assert loop.time() < deadline, f"{step.name}: still {got} at {self.url}"
            await asyncio.sleep(_FINAL_WAIT)
        for name, at in step.capture.items():
            value = found_at(got.body, at)
            if value is not None:
                self.names[name] = str(value)
        return got

    async def _once(self, step: Step) -> Answer:
        headers = {name: self.filled(value) for name, value in step.headers.items()}
        data = None
        if step.body is not None:
            raw = step.body if isinstance(step.body, (str, bytes)) else json.dumps(step.body)
            data = self.filled(raw).encode() if isinstance(raw, str) else raw
            headers.setdefault("Content-Type", "application/json")
        target = self.url + self.filled(step.path)
        async with self.session.request(step.method, target, data=data, headers=headers) as answer:
            raw_answer = await answer.read()
            return Answer(answer.status, decoded(raw_answer))

    def filled(self, text: str) -> str:
        """With `<name>` replaced by what was captured; unknown names stay."""
        return _NAMED.sub(lambda found: self.names.get(found[1], found[0]), text)

    def plain(self, value: Any, step: Step, key: str = "") -> Any:
        """Without what must differ: ids, times, own names, skipped keys."""
        if isinstance(value, dict):
            skipped = (*SKIPPED, *step.skip)
            return {self._named(k): self.plain(v, step, k) for k, v in value.items() if k not in skipped}
        if isinstance(value, list):
            return [self.plain(item, step, key) for item in value]
        if key.endswith("_time"):
            return "<time>"
        if key in _IDS and value is not None:
            return f"<{key}>"
        if isinstance(value, float):
            return round(value, step.rounded)
        return self._named(value) if isinstance(value, str) else value

    def _named(self, text: str) -> str:
        for name, value in sorted(self.names.items(), key=lambda pair: -len(pair[1])):
            if len(value) > 3:
                text = text.replace(value, f"<{name}>")
        return text.replace(self.url, "<url>")


@dataclass(frozen=True)
class Record:
    """What one step showed of a route: `path` still holds the placeholders; `differs` is the reason, if it is meant."""

    method: str
    path: str
    status: int
    differs: str | None


RECORDS: list[Record] = []
"""Every step played in this test session; the coverage ledger is made from it."""


async def play(steps: Sequence[Step], bridge: Side, reference: Side) -> None:
    """Play all steps on both sides. Raises AssertionError that lists every difference that no step declares, and every
    declared one that is none."""
    wrong: list[str] = []
    for step in steps:
        status, problem = await _compared(step, bridge, reference)
        if problem:
            wrong.append(f"{step.name} ({step.method} {step.path}): {problem}")
        else:
            RECORDS.append(Record(step.method, step.path, status, step.differs))
    assert not wrong, "\n".join(["", *wrong])


async def _compared(step: Step, bridge: Side, reference: Side) -> tuple[int, str | None]:
    """The bridge's status, and what is wrong."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (_SETTLING if step.method == "GET" and step.differs is None else 0)
    while True:
        mine, real = await asyncio.gather(bridge.answer(step), reference.answer(step))
        problem = _judged(step, bridge, mine, reference, real)
        if not problem or loop.time() >= deadline:
            return mine.status, problem
        await asyncio.sleep(_FINAL_WAIT)


def _judged(step: Step, bridge: Side, mine: Answer, reference: Side, real: Answer) -> str | None:
    ours, theirs = bridge.plain(mine.body, step), reference.plain(real.body, step)
    same = (mine.status, ours) == (real.status, theirs) and (step.unordered or keys(ours) == keys(theirs))
    if step.differs is None:
        return (
            None
            if same
            else f"\n   bridge    {mine.status} {_short(ours)}\n   reference {real.status} {_short(theirs)}"
        )
    if same:
        return f"meant to differ ({step.differs}), but both say {mine.status} {_short(ours)}"
    if step.status is not None and mine.status != step.status:
        return f"the bridge says {mine.status} {_short(ours)}, meant is {step.status}"
    if step.kind is not None and found_at(mine.body, "error.type") != step.kind:
        return f"the bridge says {_short(ours)}, meant is error type {step.kind}"
    return None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 1500 else text[:1500] + "..."


def keys(value: Any) -> Any:
    """The order of keys everywhere in a value."""
    if isinstance(value, dict):
        return [(key, keys(inner)) for key, inner in value.items()]
    return [keys(item) for item in value] if isinstance(value, list) else None


def found_at(value: Any, path: str) -> Any:
    """The value at a dotted path (list indexes are numbers); None where there is none."""
    for part in path.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def decoded(raw: bytes) -> Any:
    """JSON, or the text that came."""
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode(errors="replace")
