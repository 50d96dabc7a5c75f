"""`bridge model`: register, deploy, ask and remove models of a running bridge."""

from __future__ import annotations

import json
from typing import Any

import click

from bridge.cli.bridge_client import BridgeClient, Target, bridge_options, connected, must_complete, read_id, show
from bridge.cli.model_register import register

_WAIT_SECONDS = 3600.0
_COLUMNS = ("model_id", "name", "model_version", "algorithm", "model_format", "model_state")


@click.group()
def model() -> None:
    """Register, deploy, ask and remove models of a running bridge.

    Exit codes: 0 done, 1 the bridge refused or a task failed, 2 wrong usage, 3 no bridge answers at --bridge, 130
    Ctrl-C.
    """


model.add_command(register)


@model.command()
@click.argument("model_id", type=read_id)
@click.option("--node", "nodes", multiple=True, help="Only onto this node (several times for several).")
@click.option("--wait/--no-wait", default=True, help="Wait until it is deployed.")
@bridge_options
def deploy(to: Target, model_id: str, nodes: tuple[str, ...], wait: bool) -> None:
    """Deploy MODEL_ID onto all ML nodes, or onto those named."""

    async def work(client: BridgeClient) -> dict[str, Any]:
        return await deployed(client, model_id, nodes, wait=wait)

    told = connected(to, work)
    show(to, told, lambda: [f"{model_id}: {told['state'] if wait else 'deploying, task ' + told['task_id']}"])


async def deployed(client: BridgeClient, model_id: str, nodes: tuple[str, ...] = (), *, wait: bool) -> dict[str, Any]:
    """Deploy and, if asked, wait. Raises Refused."""
    body = {"node_ids": list(nodes)} if nodes else None
    told = await client.call("POST", ("models", model_id, "_deploy"), body)
    return await must_complete(client, told["task_id"], _WAIT_SECONDS) if wait else told


@model.command()
@click.argument("model_ids", type=read_id, nargs=-1, required=True)
@bridge_options
def undeploy(to: Target, model_ids: tuple[str, ...]) -> None:
    """Take MODEL_IDS off all nodes."""

    async def work(client: BridgeClient) -> Any:
        return await client.call("POST", ("models", "_undeploy"), {"model_ids": list(model_ids)})

    told = connected(to, work)
    show(to, told, lambda: [f"{each}: {_undeployed(told, each)}" for each in model_ids])


def _undeployed(told: dict[str, Any], model_id: str) -> str:
    said = [node["stats"].get(model_id) for node in told.values()]
    return "undeployed" if "undeployed" in said else "was on no node"


@model.command()
@click.argument("model_id", type=read_id)
@click.argument("texts", nargs=-1)
@click.option("--query-text", help="Compare TEXTS with this text (TEXT_SIMILARITY).")
@click.option("--question", help="Answer this question from --context (QUESTION_ANSWERING).")
@click.option("--context", help="The text in which the answer stands.")
@click.option("--body", type=click.File("rb"), help="The whole request as JSON from a file, or - for standard input.")
@bridge_options
def predict(
    *,
    to: Target,
    model_id: str,
    texts: tuple[str, ...],
    query_text: str | None,
    question: str | None,
    context: str | None,
    body: Any,
) -> None:
    """Ask MODEL_ID about TEXTS and print its answers, one JSON value for each."""
    asked = _asked(texts, query_text, question, context, body)

    async def work(client: BridgeClient) -> Any:
        return await client.call("POST", ("models", model_id, "_predict"), asked)

    told = connected(to, work)
    show(to, told, lambda: [_short(result) for result in told.get("inference_results", [])])


def _asked(texts: tuple[str, ...], query_text: str | None, question: str | None, context: str | None, body: Any) -> Any:
    if body is not None:
        try:
            return json.loads(body.read())
        except ValueError as error:
            raise click.UsageError(f"--body is not JSON: {error}") from error
    if question is not None or context is not None:
        if question is None or context is None:
            raise click.UsageError("--question and --context go together")
        return {"question": question, "context": context}
    if not texts:
        raise click.UsageError("say TEXTS, --question and --context, or --body")
    return {"text_docs": list(texts)} | ({"query_text": query_text} if query_text is not None else {})


def _short(result: dict[str, Any]) -> str:
    tensors = result.get("output", [])
    # TorchScript models answer every output that they have; this one was asked for.
    tensors = [each for each in tensors if each.get("name") == "sentence_embedding"] or tensors
    values = [each.get("data", each.get("dataAsMap", each.get("result"))) for each in tensors]
    return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False)


@model.command("list")
@click.option("--name", help="Only models with this name; * stands for anything.")
@click.option("--state", help="Only models in this state.")
@click.option("--size", type=click.IntRange(1, 10_000), default=1000, show_default=True)
@bridge_options
def list_models(to: Target, name: str | None, state: str | None, size: int) -> None:
    """Show the models, newest first."""
    filters: list[dict[str, Any]] = []
    if name:
        filters.append({"wildcard": {"name.keyword": name}})
    if state:
        filters.append({"term": {"model_state": state.upper()}})
    asked = {"size": size, "query": {"bool": {"filter": filters}}, "sort": [{"created_time": "desc"}]}

    async def work(client: BridgeClient) -> Any:
        return (await client.call("POST", ("models", "_search"), asked))["hits"]["hits"]

    hits = connected(to, work)
    found = [{**hit["_source"], "model_id": hit["_id"]} for hit in hits]
    show(to, found, lambda: _table([[str(each.get(column, "")) for column in _COLUMNS] for each in found]))


def _table(rows: list[list[str]]) -> list[str]:
    whole = [[column.upper() for column in _COLUMNS], *rows]
    widths = [max(len(row[at]) for row in whole) for at in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in whole]


@model.command()
@click.argument("model_ids", type=read_id, nargs=-1, required=True)
@click.option("--undeploy", "first", is_flag=True, help="Undeploy them first.")
@bridge_options
def delete(to: Target, model_ids: tuple[str, ...], first: bool) -> None:
    """Remove MODEL_IDS with their contents."""

    async def work(client: BridgeClient) -> list[str]:
        if first:
            await client.call("POST", ("models", "_undeploy"), {"model_ids": list(model_ids)})
        for each in model_ids:
            await client.call("DELETE", ("models", each), repeat=False)
        return list(model_ids)

    gone = connected(to, work)
    show(to, {"deleted": gone}, lambda: [f"{each}: deleted" for each in gone])
