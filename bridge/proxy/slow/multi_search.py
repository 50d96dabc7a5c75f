"""`_msearch`: items through pipelines of ours, items with `neural` queries, and items as they came, in one request to
the cluster. An item that fails fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from aiohttp import web

from bridge.domain.caller import CALLER
from bridge.errors import BridgeError, Unparsable, error_body, status_of
from bridge.proxy.slow.presentation import decoded, encoded, presented, unshaped
from bridge.proxy.slow.search import Source, parsed_source, source_of, with_total, without_total
from bridge.proxy.slow.search_parameters import Parameters
from bridge.proxy.slow.searching import Prepared, Search, Searching, finished
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.upstream import reply_answer, sent_headers
from bridge.wire import dumps_exact, loads

_NDJSON = "application/x-ndjson"
_WORDS = (b"neural", b"search_pipeline", b'"ext"', b"\\u00")

ITEMS_AT_ONCE = 16
"""Items of one request that are worked on together."""
A = TypeVar("A")
T = TypeVar("T")

Pair: TypeAlias = tuple[bytes, bytes]
"""The header line and the body line of an item."""
Outcome: TypeAlias = Prepared | BridgeError | None
"""What to send for an item, why it can't be sent, or None: as it came."""


class MultiSearch:
    """Handlers of `_msearch`; `_msearch/template` uses `played`."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._searching = Searching(services)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`/_msearch` and `/{index}/_msearch`."""
        source = await source_of(request, self._services.max_body)
        pairs = self.pairs(request, source)
        if pairs is None:
            return await self._services.upstream.pass_on(request, body=source.sent)
        outcomes = await bounded(partial(self.item, request), pairs)
        if all(outcome is None for outcome in outcomes):
            return await self._services.upstream.pass_on(request, body=source.sent)
        return await self.played(request, pairs, outcomes, unshaped(request.raw_path))

    def pairs(self, request: web.Request, source: Source) -> list[Pair] | None:
        """The items of a request that may concern us; None where it goes on as it came."""
        if not source.in_json or "search_pipeline" in request.query or not self.worth_a_look(source.raw):
            return None
        return pairs_of(source.raw)

    def worth_a_look(self, body: bytes) -> bool:
        """Whether an item may concern us."""
        return bool(self._services.pipelines.search_names()) or any(word in body for word in _WORDS)

    async def item(self, request: web.Request, pair: Pair) -> Outcome:
        """What becomes of one item."""
        head, source = _head(pair[0]), parsed_source(pair[1])
        if head is None or source is None:
            return None
        index = head.get("index", head.get("indices"))
        names = ",".join(map(str, index)) if isinstance(index, list) else index
        resolving = {**Parameters.of(request.raw_path).resolving(), **Parameters("", _texts(head)).resolving()}
        search = Search(
            body=source,
            # Parameters of a multi search say nothing of a source.
            parameters=Parameters(""),
            headers=request.headers,
            target=names if isinstance(names, str) and names else request.match_info.get("index"),
            resolving=resolving,
            caller=request.get(CALLER),
        )
        try:
            return await self._searching.prepared(search)
        except BridgeError as error:
            return error

    async def played(
        self, request: web.Request, pairs: Sequence[Pair], outcomes: Sequence[Outcome], target: str
    ) -> web.StreamResponse:
        """Send what can be sent, and put the answer together. Raises InvalidRequest for a parameter that is none."""
        parameters = Parameters.of(request.raw_path)
        parameters.check()
        lines = []
        for (head, source), outcome in zip(pairs, outcomes, strict=True):
            if not isinstance(outcome, BridgeError):
                lines.append(head + b"\n" + (source if outcome is None else dumps_exact(outcome.body)) + b"\n")
        answer: dict[str, Any] = {"took": 0, "responses": []}
        headers: Mapping[str, str] = {}
        length = 0
        if lines:
            sent = sent_headers(request.headers, replaced=True, content_type=_NDJSON)
            sent.popall("Accept", None)
            bodiless = Parameters.of(target).bodiless()
            reply = await self._services.upstream.exchange("POST", bodiless, sent, b"".join(lines))
            if reply.status != 200:
                return await encoded(reply_answer(reply), request)
            answer, headers, length = await decoded(reply), reply.headers, len(reply.body)
        answer["responses"] = await _joined(answer["responses"], outcomes, parameters)
        return await presented(answer, request, headers, length=length)


async def _joined(responses: Sequence[Any], outcomes: Sequence[Outcome], parameters: Parameters) -> list[Any]:
    """One answer for each item, in order."""
    came = iter(responses)
    pairs = [(outcome, None if isinstance(outcome, BridgeError) else next(came)) for outcome in outcomes]
    return await bounded(partial(_answer, parameters), pairs)


async def _answer(parameters: Parameters, pair: tuple[Outcome, Any]) -> Any:
    outcome, response = pair
    if isinstance(outcome, BridgeError):
        return error_item(outcome)
    if outcome is None or "error" in response:
        return response
    try:
        return with_total(await finished(outcome, without_total(response, parameters)), parameters)
    except BridgeError as error:
        return error_item(error)


async def bounded(work: Callable[[A], Awaitable[T]], items: Iterable[A]) -> list[T]:
    """The results of all items, in order, a few at a time."""
    slots = asyncio.Semaphore(ITEMS_AT_ONCE)

    async def one(item: A) -> T:
        async with slots:
            return await work(item)

    return await asyncio.gather(*map(one, items))


def pairs_of(body: bytes) -> list[Pair] | None:
    """Header and body lines, as the cluster takes them apart: an empty first line and a last header without a body
    count for nothing. None for what the cluster is to judge, as a last line without its end."""
    if not body.endswith(b"\n"):
        return None
    lines = body.removeprefix(b"\n").split(b"\n")[:-1]
    if len(lines) % 2 and _head(lines[-1]) is not None:
        lines.pop()
    if not lines or len(lines) % 2:
        return None
    return list(zip(lines[::2], lines[1::2], strict=True))


def _head(line: bytes) -> Mapping[str, Any] | None:
    try:
        head = loads(line) if line.strip() else {}
    except Unparsable:
        return None
    return head if isinstance(head, Mapping) else None


def _texts(head: Mapping[str, Any]) -> dict[str, str]:
    """A header's options as a URL has them."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else _text(value) for name, value in head.items()
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def error_item(error: BridgeError) -> dict[str, Any]:
    """How a failed item of a multi search looks."""
    body = error_body(error)
    if isinstance(body, dict) and "error" in body:
        return {"error": body["error"], "status": status_of(error)}
    return {"error": {"root_cause": [], "type": error.kind, "reason": error.reason}, "status": status_of(error)}
