"""What the scenarios have shown of each route, kept in `records.json`; docs/coverage.md is made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from scenario import Record

from bridge.rest.routes import BASE, routes

RECORDS_FILE = Path(__file__).with_name("records.json")
HOW = "run BRIDGE_WRITE_COVERAGE=1 pytest tests/parity"
_PLACEHOLDER = re.compile(r"<[a-z][a-z0-9_]*>")
_REGEX = re.compile(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}")

Kept = dict[str, dict[str, list[str]]]
"""Route -> {"verified": statuses, "differs": reasons}, all sorted."""


PAGE = Path(__file__).resolve().parents[2] / "docs" / "coverage.md"
HEAD = """# Coverage of the REST surface of ML Commons 3.6.0

Made by `tests/parity/ledger.py` from the bridge's route table and from what the scenarios in `tests/parity`
have shown (`tests/parity/records.json`): they send the same steps to the bridge and to the real ML Commons and compare
status, body and key order. *Verified* lists the statuses of answers that were the same. *Differs* gives the reason of
each intended difference; see also [compatibility.md](compatibility.md).

| route | verified | differs |
|---|---|---|
"""
TAIL = """
## Not served yet

Later work: these answer 400 "no handler found", as ML Commons without the feature would.

| route | |
|---|---|
"""
AGENTS, MEMORY = "agents and tools", "conversations and memory"
CLASSIC = "training and classical algorithms: not planned"
UNSERVED = {
    "POST models/{model_id}/_predict/stream": "streaming",
    "POST _batch_ingestion": "offline batches",
    "POST _train/{algorithm}": CLASSIC,
    "POST _train_predict/{algorithm}": CLASSIC,
    "POST _execute/{algorithm}": CLASSIC,
    "POST agents/_register": AGENTS,
    "GET PUT DELETE agents/{agent_id}": AGENTS,
    "GET POST agents/_search": AGENTS,
    "POST agents/{agent_id}/_execute": AGENTS,
    "POST agents/{agent_id}/_execute/stream": AGENTS,
    "GET tools": AGENTS,
    "GET tools/{tool_name}": AGENTS,
    "POST tools/_execute/{tool_name}": AGENTS,
    "POST GET memory": MEMORY,
    "GET PUT DELETE memory/{memory_id}": MEMORY,
    "GET POST memory/_search": MEMORY,
    "POST GET memory/{memory_id}/messages": MEMORY,
    "GET POST memory/{memory_id}/_search": MEMORY,
    "GET PUT memory/message/{message_id}": MEMORY,
    "GET memory/message/{message_id}/traces": MEMORY,
    "POST GET PUT DELETE memory_containers/**": MEMORY,
    "POST PUT GET DELETE context_management/**": MEMORY,
    "POST GET mcp/**": "the Model Context Protocol",
}


def route_names() -> list[str]:
    """`METHOD /path/{of}/{parameters}` for each ML route of the bridge, in the order of the table."""
    return [one.method + " " + _REGEX.sub(r"{\1}", one.path) for one in _ml_routes()]


async def route_of(record: Record) -> str | None:
    """The ML route that served a step; None for other paths and for what no route has."""
    path = _PLACEHOLDER.sub("x", record.path).partition("?")[0]
    found = await _application().router.resolve(make_mocked_request(record.method, path))
    resource = found.route.resource
    return None if resource is None else f"{record.method} {resource.canonical}"


def _application() -> web.Application:
    app = web.Application()
    app.add_routes(_ml_routes())
    return app


def _ml_routes() -> list[web.RouteDef]:
    return [one for one in routes() if one.path.startswith(BASE)]


async def noted(kept: Kept, records: Iterable[Record]) -> Kept:
    """`kept` with what these records show besides."""
    made = {name: {part: set(values) for part, values in told.items()} for name, told in kept.items()}
    for record in set(records):
        name = await route_of(record)
        if name is None:
            continue
        told = made.setdefault(name, {"verified": set(), "differs": set()})
        if record.differs is None:
            told["verified"].add(str(record.status))
        else:
            told["differs"].add(record.differs)
    return {name: {part: sorted(values) for part, values in told.items()} for name, told in sorted(made.items())}


def read() -> Kept:
    kept: Kept = json.loads(RECORDS_FILE.read_text(encoding="utf-8")) if RECORDS_FILE.exists() else {}
    return kept


def write(kept: Kept) -> None:
    """Keep it, and make the page from it."""
    PAGE.write_text(page(kept), encoding="utf-8")
    RECORDS_FILE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(kept: Kept) -> str:
    """docs/coverage.md as it should be."""
    rows = []
    for name in route_names():
        told = kept.get(name, {"verified": [], "differs": []})
        method, _, path = name.partition(" ")
        rows.append(f"| {method} `{path}` | {', '.join(told['verified'])} | {'; '.join(told['differs'])} |")
    later = [f"| {methods} `/_plugins/_ml/{path}` | {why} |" for (methods, path), why in unserved()]
    return HEAD + "\n".join(rows) + "\n" + TAIL + "\n".join(later) + "\n"


def unserved() -> list[tuple[tuple[str, str], str]]:
    """Methods and path of what ML Commons has and the bridge has not, and why."""
    return [((" ".join(words[:-1]), words[-1]), why) for name, why in UNSERVED.items() for words in [name.split()]]
