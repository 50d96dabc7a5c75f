"""`/_cluster/settings`: the keys `plugins.ml_commons.*` are kept by the bridge, all others by the cluster.

A cluster that runs the real ML Commons gets its keys too; what the bridge shows is then what counts in the bridge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bridge.background import Background
from bridge.domain.caller import CALLER
from bridge.domain.setting_rules import PREFIX, check, rule_of
from bridge.errors import InvalidRequest, Unparsable
from bridge.proxy.slow.presentation import shaped
from bridge.proxy.slow.services import SlowServices
from bridge.proxy.slow.settings_tree import flat, structured
from bridge.proxy.slow.upstream import Reply, json_answer, read_body, reply_answer, sent_headers
from bridge.store.live_settings import Changes, Kept, LiveSettings
from bridge.wire import dumps_exact, loads_exact

STORES = ("persistent", "transient")
_JSON = "application/json"
_SWITCHES = {"": True, "true": True, "false": False}
_KNOWN = frozenset(
    (
        "timeout", "cluster_manager_timeout", "master_timeout", "flat_settings", "pretty", "human", "error_trace",
        "filter_path", "format", "source", "source_content_type",
    )
)  # fmt: skip
# Takes nothing away, but the cluster asks for the right to change settings first.
_NOTHING = dumps_exact({"persistent": {PREFIX + "bridge.*": None}})
_PLUGIN_KEY = "plugins.ml_commons.max_model_on_node"


@dataclass(frozen=True)
class _Asked:
    """A body, taken apart: changes of ours, and what the cluster gets of the body (None: nothing)."""

    ours: Mapping[str, Changes]
    rest: Mapping[str, Any] | None


class ClusterSettingsRoutes:
    """Handlers of GET and PUT."""

    def __init__(self, services: SlowServices) -> None:
        self._services = services
        self._tasks = Background()
        self._has_plugin: bool | None = None

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The cluster's settings with ours among them."""
        live = self._services.settings
        with_defaults = _switch(request, "include_defaults")
        in_flat = _switch(request, "flat_settings")
        if live is None or None in (with_defaults, in_flat):
            return await self._services.upstream.pass_on(request)
        if not (with_defaults or live.kept.persistent or live.kept.transient):
            return await self._services.upstream.pass_on(request)
        reply = await self._services.upstream.exchange("GET", _flat_target(request), _headers(request))
        if reply.status != 200 or not _is_json(reply):
            return reply_answer(reply)
        return self._answer(request, _merged(reply.json(), live, bool(with_defaults)), bool(in_flat), reply)

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Set all or nothing: our keys are checked before the cluster gets the others."""
        body = await read_body(request, self._services.max_body)
        live = self._services.settings
        plugin = live is not None and PREFIX.encode()[:7] in body and await self._real_plugin(request)
        asked = _read(body, plugin)
        if live is None or asked is None:
            return await self._services.upstream.pass_on(request, body=body)
        if asked.rest is None and request.get(CALLER) is None:
            _check_parameters(request)
        sent = None if asked.rest is None else dumps_exact(asked.rest)
        work = self._set(request, live, asked, sent)
        # The cluster's keys and ours: a client that goes away between the two must not stop the second.
        return await asyncio.shield(self._tasks.start(work, name="put cluster settings"))

    async def _set(
        self, request: web.Request, live: LiveSettings, asked: _Asked, sent: bytes | None
    ) -> web.StreamResponse:
        reply = None
        if sent is not None or request.get(CALLER) is not None:
            headers = _headers(request, content_type=_JSON)
            reply = await self._services.upstream.exchange("PUT", _flat_target(request), headers, sent or _NOTHING)
            if reply.status != 200 or not _is_json(reply):
                return reply_answer(reply)
        done = await live.change(persistent=asked.ours["persistent"], transient=asked.ours["transient"])
        told = {} if reply is None else reply.json()
        return self._answer(request, _applied(told, done), bool(_switch(request, "flat_settings")), reply)

    def _answer(self, request: web.Request, told: dict[str, Any], in_flat: bool, reply: Reply | None) -> web.Response:
        if not in_flat:
            told = {key: structured(value) if isinstance(value, dict) else value for key, value in told.items()}
        return json_answer(200, shaped(told, request.raw_path), None if reply is None else reply.headers)

    async def _real_plugin(self, request: web.Request) -> bool:
        """Whether the cluster has these keys itself; asked as the caller, who may not be allowed to know."""
        if self._has_plugin is None:
            paths = ",".join(f"{store}.{_PLUGIN_KEY}" for store in (*STORES, "defaults"))
            target = f"/_cluster/settings?include_defaults=true&filter_path={paths}"
            reply = await self._services.upstream.exchange("GET", target, _headers(request))
            if reply.status != 200 or not _is_json(reply):
                return False
            self._has_plugin = bool(reply.json())
        return self._has_plugin


def _read(body: bytes, plugin: bool) -> _Asked | None:
    """None when nothing in the body is ours. Raises InvalidRequest."""
    try:
        told = loads_exact(body)
    except Unparsable:
        return None
    if not isinstance(told, dict) or not all(isinstance(told.get(store, {}), dict) for store in STORES):
        return None
    trees = {store: told.get(store, {}) for store in STORES}
    wanted = {store: flat(tree) for store, tree in trees.items() if _names_ours(tree)}
    ours = {store: _ours(wanted.get(store, {}), plugin) for store in STORES}
    if not any(ours.values()):
        return None
    for store in sorted(STORES, reverse=True):
        for key in sorted(ours[store]):
            check(store, key, ours[store][key])
    rest = told if plugin else {store: _rest(store, trees[store], wanted) for store in STORES}
    return _Asked(ours, rest if plugin or any(rest.values()) else None)


def _names_ours(tree: Mapping[str, Any]) -> bool:
    return any(key.startswith("plugins") or key.endswith("*") for key in tree)


def _ours(wanted: Changes, plugin: bool) -> Changes:
    found = {}
    for key, value in wanted.items():
        if key.startswith(PREFIX):
            # A newer plugin has keys that only it can judge.
            if not plugin or rule_of(key) is not None or key.endswith("*"):
                found[key] = value
        elif value is None and _reaches_ours(key):
            found[key] = value
    return found


def _reaches_ours(key: str) -> bool:
    """Whether a wildcard that is not only ours means our keys too."""
    return key.endswith("*") and PREFIX.startswith(key.rstrip("*"))


def _rest(store: str, tree: Mapping[str, Any], wanted: Mapping[str, Changes]) -> Mapping[str, Any]:
    """What of the tree goes to the cluster; untouched where nothing of ours is in it."""
    if store not in wanted:
        return tree
    kept = {key: value for key, value in wanted[store].items() if not key.startswith(PREFIX)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}


def _merged(told: dict[str, Any], live: LiveSettings, with_defaults: bool) -> dict[str, Any]:
    merged = dict(told)
    for store, ours in (("persistent", live.kept.persistent), ("transient", live.kept.transient)):
        merged[store] = _sorted({**told.get(store, {}), **ours})
    if with_defaults:
        found = {**told.get("defaults", {}), **live.defaults()}
        gone = {*live.kept.persistent, *live.kept.transient}
        merged["defaults"] = _sorted({key: value for key, value in found.items() if key not in gone})
    return merged


def _applied(told: Mapping[str, Any], done: Kept) -> dict[str, Any]:
    found: dict[str, Any] = {"acknowledged": told.get("acknowledged", True)}
    for store, ours in (("persistent", done.persistent), ("transient", done.transient)):
        found[store] = _sorted({**told.get(store, {}), **ours})
    return found


def _sorted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(settings[key]) if isinstance(settings[key], tuple) else settings[key] for key in sorted(settings)}


def _switch(request: web.Request, name: str) -> bool | None:
    """A switch of the query; None when it is none, which the cluster then refuses."""
    return _SWITCHES.get(request.query[name]) if name in request.query else False


def _check_parameters(request: web.Request) -> None:
    unknown = [name for name in request.query if name not in _KNOWN]
    if unknown:
        word = "parameter" if len(unknown) == 1 else "parameters"
        listed = ", ".join(f"[{name}]" for name in unknown)
        raise InvalidRequest(f"request [{request.path}] contains unrecognized {word}: {listed}")
    if _switch(request, "flat_settings") is None:
        value = request.query["flat_settings"]
        raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _flat_target(request: web.Request) -> str:
    plain = URL(request.raw_path, encoded=True).without_query_params("filter_path", "pretty", "format")
    return str(plain if _switch(request, "flat_settings") is None else plain.update_query({"flat_settings": "true"}))


def _headers(request: web.Request, content_type: str | None = None) -> CIMultiDict[str]:
    """The caller's, asking for JSON whatever he asks for: the answer is read here."""
    headers = sent_headers(request.headers, replaced=True, content_type=content_type)
    headers["Accept"] = _JSON
    return headers


def _is_json(reply: Reply) -> bool:
    return "json" in reply.headers.get("Content-Type", _JSON)
