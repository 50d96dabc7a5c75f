"""Malformed bodies: the words for what is wrong with them, from the bridge and from the real ML Commons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scenario import ML, Side, Step, play

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

RECORDED: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "unit" / "core" / "json_faults.jsonl").read_text().splitlines()
]
TYPES = ("json_parse_exception", "json_e_o_f_exception")
LIMIT = "stream_constraints_exception"
JSON = {"Content-Type": "application/json"}

ELSEWHERE = (
    "{bad",
    "{",
    '{"a":1,}',
    '{"x":nul}',
    '{"x":"\x01"}',
    '{"x":[1,2}',
    '{"x":1',
    '{\n"x":tru',
    '{"a":1,"a":2}',
)
ROUTES = [
    ("POST", f"{ML}/models/_register"),
    ("POST", f"{ML}/connectors/_create"),
    ("PUT", f"{ML}/models/nope"),
    ("PUT", f"{ML}/model_groups/nope"),
    ("PUT", f"{ML}/connectors/nope"),
    ("POST", f"{ML}/models/nope/_deploy"),
    ("POST", f"{ML}/models/_undeploy"),
]


def sent(body: bytes, method: str = "POST", path: str = f"{ML}/model_groups/_register", **options: Any) -> Step:
    return Step(repr(body[:60]), method, path, body, JSON, **options)


def body_of(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["hex"]) if "hex" in row else row["body"].encode()


async def test_the_words_are_the_references(sides: tuple[Side, Side]) -> None:
    faulty = [row for row in RECORDED if row["type"] in TYPES]
    await play([sent(body_of(row), path=f"{ML}/{row.get('path', 'model_groups/_register')}") for row in faulty], *sides)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_they_are_so_on_other_routes(sides: tuple[Side, Side], method: str, path: str) -> None:
    await play([sent(body.encode(), method, path) for body in ELSEWHERE], *sides)


async def test_a_limit_has_the_references_words_but_is_the_clients_mistake(sides: tuple[Side, Side]) -> None:
    reached = ['{"x":' * 1001, '{"x":1' + "0" * 1000 + "}"]
    own = "beyond a limit of its parser the reference answers 500"
    await play([sent(body.encode(), differs=own, status=400, kind=LIMIT) for body in reached], *sides)


async def test_what_only_the_bridge_refuses(sides: tuple[Side, Side]) -> None:
    bodies = ["{/* c */}", '{"x":"\\ud800"}', "{} {}"]
    lenient = "the reference takes comments, halves of surrogate pairs and whatever comes after the object"
    await play(
        [sent(body.encode(), differs=lenient, status=400, kind="json_parse_exception") for body in bodies], *sides
    )
