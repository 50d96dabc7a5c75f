"""Groups, tasks, searches and what all routes share: the same steps to the bridge and to the real ML Commons."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from fake_inference import register_body, zipped
from file_server import FileServer
from scenario import DELETED, ML, Side, Step, ended, play

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]

GROUPS = f"{ML}/model_groups"
SOURCE = "the reference sends all fields where `_source` is false"
MISTAKE = "a client's mistake is 500 in the reference"


def group(name: str, body: Any = None, **options: Any) -> Step:
    return Step(name, "POST", f"{GROUPS}/_register", body, **options)


def change(name: str, body: Any = None, which: str = "<group>", **options: Any) -> Step:
    return Step(name, "PUT", f"{GROUPS}/{which}", body, **options)


def shown(name: str, which: str = "<group>", **options: Any) -> Step:
    return Step(name, "GET", f"{GROUPS}/{which}", **options)


async def test_groups_registered(sides: tuple[Side, Side]) -> None:
    await play(
        [
            group("no body", differs=None),
            group("nothing", {}, differs=MISTAKE, status=400),
            group("name null", {"name": None}, differs=MISTAKE, status=400),
            group("blank", {"name": "   "}),
            group("bad characters", {"name": "a <b>"}),
            group("letters of other scripts", {"name": "<unique> é 漢 ٣ ½ ª Größe", "description": "Größe 漢字"}),
            group("combining marks", {"name": "<unique> e\u0301"}),
            group("emoji", {"name": "<unique> \U0001f600"}),
            group("no-break space", {"name": "<unique>\u00a0a"}),
            group("bad description", {"name": "<unique>", "description": "a;b"}),
            group("tab in the description", {"name": "<unique>t", "description": "a\tb\nc"}),
            group("name an object", {"name": {"a": 1}}, differs=MISTAKE, status=400),
            group("name a list", {"name": ["a"]}, differs=MISTAKE, status=400),
            group("not JSON", "{bad"),
            group("an array", "[]"),
            group("a text", '"x"'),
            group("text/plain", '{"name":"x"}', headers={"Content-Type": "text/plain"}),
            group("a mode without access control", {"name": "<unique>", "access_mode": "private"}),
            group("a mode in capitals", {"name": "<unique>", "access_mode": "PUBLIC"}),
            group("roles", {"name": "<unique>", "backend_roles": ["a"]}),
            group("all roles", {"name": "<unique>", "add_all_backend_roles": True}),
            group("all roles, no", {"name": "<unique>", "add_all_backend_roles": False}),
            group("all roles, as a text", {"name": "<unique>", "add_all_backend_roles": "true"}),
            group("all roles, as a bad text", {"name": "<unique>", "add_all_backend_roles": "x"}),
            group("roles a text", {"name": "<unique>", "backend_roles": "a"}, skip=("reason", "line", "col")),
            group("no roles", {"name": "<unique>0", "backend_roles": []}, capture={"zero": "model_group_id"}),
            group("unknown mode", {"name": "<unique>1", "access_mode": "weird"}, capture={"one": "model_group_id"}),
            shown("as public", "<one>"),
            group("unknown fields", {"name": "<unique>2", "x": {"y": [1]}, "description": "d"}),
            group("a number", {"name": 12.5}, capture={"number": "model_group_id"}),
            shown("number", "<number>"),
            Step("delete number", "DELETE", f"{GROUPS}/<number>"),
            group("taken", {"name": "<unique>1"}),
        ],
        *sides,
    )


async def test_groups_changed_and_deleted(sides: tuple[Side, Side]) -> None:
    name = {"name": "<unique>", "description": "first"}
    await play(
        [
            group("make", name, capture={"group": "model_group_id"}),
            group("another", {"name": "<unique>b"}, capture={"other": "model_group_id"}),
            shown("first"),
            change("no body", differs=MISTAKE, status=400),
            change("nothing", {}),
            change("unknown", {"description": "x"}, "nope"),
            change("not JSON", "{bad"),
            change("description", {"description": "changed"}),
            shown("changed"),
            change("own name", {"name": "<unique>"}),
            change("taken name", {"name": "<unique>b"}),
            change("blank name", {"name": "  "}),
            change("blank description", {"description": ""}),
            change("bad name", {"name": "<>"}),
            change("a mode", {"access_mode": "private"}),
            change("all roles, no", {"add_all_backend_roles": False}),
            change("no roles", {"backend_roles": []}),
            change("renamed", {"name": "<unique>c"}),
            shown(
                "renamed", differs="an empty list of roles makes a public group restricted in the reference", status=200
            ),
            shown("unknown", "nope"),
            Step("delete unknown", "DELETE", f"{GROUPS}/nope"),
            Step("delete", "DELETE", f"{GROUPS}/<group>"),
            Step("delete again", "DELETE", f"{GROUPS}/<group>"),
            shown("gone"),
            change("gone too", {"description": "x"}),
        ],
        *sides,
    )


@pytest.fixture
def failed(model_server: FileServer) -> list[Step]:
    """A registration that fails: its task, and no model."""
    body = register_body(model_server.serve_bytes("none.zip", b"no zip"), b"no zip", name="<unique>")
    return [
        Step("register", "POST", f"{ML}/models/_register", body, capture={"task": "task_id"}),
        ended("ended", skip=("error",)),
    ]


ENDED = {"hits.hits.0._source.state": ("FAILED",)}


async def test_tasks(sides: tuple[Side, Side], failed: list[Step]) -> None:
    tasks = f"{ML}/tasks"
    by_id = {"query": {"ids": {"values": ["<task>"]}}}
    await play(
        [
            *failed,
            Step("unknown", "GET", f"{tasks}/nope"),
            Step("delete unknown", "DELETE", f"{tasks}/nope"),
            Step("cancel unknown", "POST", f"{tasks}/nope/_cancel"),
            Step("cancel", "POST", f"{tasks}/<task>/_cancel"),
            Step("old name of cancel", "POST", f"{tasks}/<task>/_cancel_batch"),
            Step("found", "POST", f"{tasks}/_search", by_id, until=ENDED, skip=("error",), unordered=True),
            Step("found by GET", "GET", f"{tasks}/_search", by_id, skip=("error",), unordered=True),
            Step("a field", "POST", f"{tasks}/_search", {**by_id, "_source": ["state"]}),
            Step("counted", "POST", f"{tasks}/_search", {**by_id, "size": 0}),
            Step("delete", "DELETE", f"{tasks}/<task>"),
            Step("gone", "GET", f"{tasks}/<task>"),
            Step("delete again", "DELETE", f"{tasks}/<task>"),
        ],
        *sides,
    )


@pytest.fixture
def registered(model_server: FileServer) -> list[Step]:
    """A model that is registered, from nonsense, in a group of its own."""
    content = zipped()
    body = register_body(model_server.serve_bytes("some.zip", content), content, name="<unique>", description="words")
    return [
        Step("register", "POST", f"{ML}/models/_register", body, capture={"task": "task_id"}),
        ended("ended", capture={"model": "model_id"}),
        Step("model", "GET", f"{ML}/models/<model>", capture={"group": "model_group_id"}),
    ]


QUERY = {
    "bool": {"must": [{"term": {"name.keyword": "<unique>"}}], "must_not": [{"exists": {"field": "chunk_number"}}]}
}
UNSTABLE = ("index_uuid", "index", "node")
BAD_SEARCHES: dict[str, Any] = {
    "unknown key": {"foo": 1},
    "unknown query": {"query": {"foo": {}}},
    "two queries": {"query": {"match_all": {}, "term": {"a": "b"}}},
    "query a list": {"query": []},
    "query empty": {"query": {}},
    "match of nothing": {"query": {"match": {}}},
    "negative size": {"size": -1},
    "bad aggregation": {"aggs": {"a": {"nope": {}}}},
    "an array": [],
}


@pytest.mark.parametrize("resource", ["models", "model_groups", "tasks", "connectors"])
async def test_searches_refused(sides: tuple[Side, Side], resource: str) -> None:
    path = f"{ML}/{resource}/_search"
    refused: dict[str, Any] = {"skip": UNSTABLE}
    if resource in ("models", "model_groups"):
        refused = {"differs": MISTAKE, "status": 400}
    steps = [Step(name, "POST", path, body, skip=UNSTABLE) for name, body in BAD_SEARCHES.items()]
    await play(
        [
            group("an index", {"name": "<unique>"}),
            *steps,
            Step("too many", "POST", path, {"size": 20000}, differs=MISTAKE, status=400),
            Step("bad sort", "POST", path, {"sort": [{"nope": "asc"}]}, **refused),
            Step("not JSON", "POST", path, "{bad"),
            Step("no body", "POST", path),
            Step("no body by GET", "GET", path),
            Step("source without its type", "GET", f"{path}?source=%7B%7D", differs=MISTAKE, status=400),
            Step(
                "source",
                "GET",
                f"{path}?source=%7B%22size%22%3A0%7D&source_content_type=application/json",
                skip=("hits",),
            ),
        ],
        *sides,
    )


async def test_searches(sides: tuple[Side, Side], registered: list[Step]) -> None:
    models, one = f"{ML}/models/_search", {"hits.total.value": (1,)}
    aggregated = {"query": QUERY, "size": 0, "aggs": {"states": {"terms": {"field": "model_state"}}}}
    named = {"query": {"term": {"name.keyword": "<unique>"}}}
    await play(
        [
            *registered,
            Step("model", "POST", models, {"query": QUERY}, until=one, unordered=True),
            Step("by GET", "GET", models, {"query": QUERY}, unordered=True),
            Step(
                "sorted",
                "POST",
                models,
                {"query": QUERY, "sort": [{"created_time": "desc"}]},
                unordered=True,
                skip=("sort",),
            ),
            Step("some fields", "POST", models, {"query": QUERY, "_source": ["name", "model_state"]}),
            Step("no fields", "POST", models, {"query": QUERY, "_source": False}, differs=SOURCE, status=200),
            Step(
                "includes and excludes",
                "POST",
                models,
                {"query": QUERY, "_source": {"includes": ["name*"], "excludes": ["*x"]}},
            ),
            Step("aggregated", "POST", models, aggregated),
            Step("from the second on", "POST", models, {"query": QUERY, "from": 1}),
            Step("no total", "POST", models, {"query": QUERY, "track_total_hits": False}),
            Step("nothing found", "POST", models, {"query": {"term": {"name.keyword": "<unique>-none"}}}),
            Step("group", "POST", f"{GROUPS}/_search", named, until=one, unordered=True),
            Step("group by GET", "GET", f"{GROUPS}/_search", named, unordered=True),
            Step(
                "group's matching words",
                "POST",
                f"{GROUPS}/_search",
                {"query": {"match": {"name": "<unique>"}}},
                unordered=True,
                skip=("_score",),
            ),
            Step("delete the group", "DELETE", f"{GROUPS}/<group>"),
            Step("delete", "DELETE", f"{ML}/models/<model>", until=DELETED),
            Step("not found", "POST", models, {"query": QUERY}, until={"hits.total.value": (0,)}),
            Step("delete the empty group", "DELETE", f"{GROUPS}/<group>"),
        ],
        *sides,
    )


SOURCE_TYPES: dict[str, str | None] = {
    "foo": None, "": None, "a/b/c": None, "application/json,foo": None, "text/plain": MISTAKE,
    "application/json": None, "APPLICATION/JSON": None, "application/x-ndjson": None, "application/yaml": None,
}  # fmt: skip


async def test_the_type_of_a_source(sides: tuple[Side, Side]) -> None:
    none = '{"size":0,"query":{"term":{"name.keyword":"<unique>"}}}'
    await play(
        [
            Step(
                f"type {kind}",
                "GET",
                f"{ML}/models/_search?source={none}&source_content_type={kind}",
                differs=differs,
                status=400 if differs else None,
            )
            for kind, differs in SOURCE_TYPES.items()
        ],
        *sides,
    )


METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
PLACES = (
    "models/_register", "models/_upload", "models/_register_meta", "models/meta", "models/_search", "models/x",
    "models/x/_deploy", "models/x/_load", "models/x/_undeploy", "models/x/_unload", "models/_undeploy",
    "models/_unload",
    "models/x/_predict", "_predict/text_embedding/x", "models/x/upload_chunk/0", "models/x/chunk/0", "tasks/_search",
    "tasks/x", "tasks/x/_cancel", "model_groups/_register", "model_groups/_search", "model_groups/x",
    "connectors/_create", "connectors/_search", "connectors/x", "controllers/x", "nowhere", "models",
    "models/x/_nowhere", "tasks", "model_groups", "models/x/y/z",
)  # fmt: skip


def _allowed(body: Any) -> Any:
    """A 405 with the methods in one order: the reference's changes with each start."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str) and "allowed: [" in error:
        before, _, rest = error.partition("allowed: [")
        return {**body, "error": f"{before}allowed: {sorted(rest.removesuffix(']').split(', '))}"}
    return body


async def test_wrong_methods_and_unknown_routes(sides: tuple[Side, Side]) -> None:
    different = {}
    for place in PLACES:
        for method in METHODS:
            step = Step(f"{method} {place}", method, f"{ML}/{place}")
            mine, real = [await side.answer(step) for side in sides]
            if 405 not in (mine.status, real.status) and "no handler" not in str(real.body) and method != "OPTIONS":
                continue
            if (mine.status, _allowed(mine.body)) != (real.status, _allowed(real.body)):
                different[step.name] = (mine, real)
    assert not different, "\n".join(f"{name}: {both}" for name, both in different.items())


async def test_generic_parameters(sides: tuple[Side, Side]) -> None:
    path = f"{GROUPS}/<group>"
    await play(
        [
            group("make", {"name": "<unique>"}, capture={"group": "model_group_id"}),
            Step("filter_path", "GET", f"{path}?filter_path=name,latest_*"),
            Step("filter_path, left out", "GET", f"{path}?filter_path=-name"),
            Step("filter_path, nothing", "GET", f"{path}?filter_path=nope"),
            Step("filter_path, twice", "GET", f"{path}?filter_path=latest_version&filter_path=name"),
            Step("filter_path of an error", "GET", f"{GROUPS}/nope?filter_path=status"),
            Step("human", "GET", f"{path}?human"),
            Step("error_trace", "GET", f"{path}?error_trace=false"),
            Step("unknown parameter", "GET", f"{path}?foo=1"),
            Step("two unknown ones", "GET", f"{path}?foo=1&bar=2", unordered=True),
            Step("misspelled", "GET", f"{path}?prety=true"),
            Step("unknown on search", "POST", f"{GROUPS}/_search?foo=1", {"size": 0}),
            Step("unknown on register", "POST", f"{GROUPS}/_register?foo=1", {"name": "<unique>z"}),
            Step("unknown on unknown", "GET", f"{ML}/nowhere?foo=1"),
            Step("percent-encoded", "GET", f"{GROUPS}/a%2Fb%20c"),
            Step("slash at the end", "GET", f"{path}/"),
            *(Step(f"no switch {name}", "GET", f"{path}?{name}=maybe") for name in ("pretty", "human", "error_trace")),
            Step("no switch before an unknown parameter", "GET", f"{path}?foo=1&pretty=maybe"),
            Step("no switch, on unknown", "GET", f"{ML}/nowhere?pretty=maybe"),
            Step("no switch, to OPTIONS", "OPTIONS", f"{ML}/nowhere?pretty=maybe"),
            Step("no switch of a route", "GET", f"{ML}/models/x?return_content=maybe&foo=1"),
            Step("no switch of a route with a body", "POST", f"{ML}/models/_register?deploy=maybe", "{"),
            Step("the last switch counts", "GET", f"{path}?human=maybe&human=true"),
        ],
        *sides,
    )


@pytest.mark.parametrize("query", ["pretty", "pretty=true", "pretty=false", "format=yaml", "format=json"])
async def test_presentation(sides: tuple[Side, Side], query: str) -> None:
    shown = []
    for side in sides:
        async with side.session.get(f"{side.url}{GROUPS}/nope?{query}") as answer:
            text = await answer.text()
            # Whatever is JSON is YAML, so the bridge writes that.
            told = yaml.safe_load(text) if "yaml" in query else text
            shown.append((answer.status, answer.headers["Content-Type"], told))
    assert shown[0] == shown[1]


CONTENT_TYPES = [
    "application/json",
    "application/json; charset=UTF-8",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "application/x-ndjson",
    "nonsense",
    "application/vnd.opensearch+json",
]


@pytest.mark.parametrize("kind", CONTENT_TYPES)
async def test_content_types(sides: tuple[Side, Side], kind: str) -> None:
    headers = {"Content-Type": kind}
    await play(
        [
            group("group", '{"name": " "}', headers=headers),
            Step("search", "POST", f"{GROUPS}/_search", '{"size": 0}', headers=headers, skip=("hits",)),
            Step("deploy", "POST", f"{ML}/models/nope/_deploy", "{}", headers=headers),
            Step("register", "POST", f"{ML}/models/_register", "{}", headers=headers),
        ],
        *sides,
    )
