"""Pipelines of both kinds as clients see them: whole, wherever the cluster holds the rest of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from bridge.proxy.slow.presentation import shaped, unshaped
from bridge.proxy.slow.upstream import Reply, Upstream, json_answer, reply_answer, sent_headers


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that one of the patterns means; `*` stands for any characters."""
    found = [re.compile(".*".join(map(re.escape, pattern.split("*")))) for pattern in patterns]
    return [name for name in names if any(pattern.fullmatch(name) for pattern in found)]


async def exchanged(upstream: Upstream, request: web.Request) -> Reply:
    """The cluster's whole answer to this request, before presentation. Raises ClusterUnavailable."""
    headers = sent_headers(request.headers, replaced=True)
    return await upstream.exchange(request.method, unshaped(request.raw_path), headers)


async def answered(
    upstream: Upstream, request: web.Request, definitions: Mapping[str, Mapping[str, Any]]
) -> web.StreamResponse:
    """The cluster's answer to a GET, with our whole `definitions` in the place of their rests."""
    if not definitions:
        return await upstream.pass_on(request)
    reply = await exchanged(upstream, request)
    if reply.status != 200:
        return reply_answer(reply)
    found = reply.json()
    found.update({name: whole for name, whole in definitions.items() if name in found})
    return json_answer(200, shaped(found, request.raw_path), reply.headers)
