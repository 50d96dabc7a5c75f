"""`bridge doctor`: what would work here, what would not, and what to do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import click

from bridge.app import cluster_config
from bridge.cli.options import settings_options
from bridge.engines import memory
from bridge.engines.host import explain_devices
from bridge.errors import BridgeError
from bridge.settings import Settings
from bridge.store.cluster import Cluster, ClusterInfo
from bridge.store.indices import TEMPLATES, check_prefix, load_template, stored_version
from bridge.store.rights import Lacking, lacking
from bridge.store.stores import DEFAULT_PREFIX, IndexNames

OLDEST = (2, 4)
"""The first version whose k-NN has the lucene engine and filters the way the bridge writes them."""

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
_ROOM_FOR_A_MODEL = 1024**3


@dataclass(frozen=True)
class Finding:
    """One line: `level` is ok, warning or error; the text of the last two says what to do."""

    level: str
    text: str


@click.command()
@settings_options()
def doctor(settings: Settings) -> None:
    """Check the cluster, the permissions, the devices, the engines and the memory.

    Each line says ok, warning or error, and the last two say what to do. The exit code is 1 when there is an error.
    """
    from bridge import logs

    logs.configure(level="ERROR", as_json=False)
    levels = asyncio.run(_report(settings))
    raise SystemExit(1 if "error" in levels else 0)


async def _report(settings: Settings) -> set[str]:
    levels = set()
    async for finding in findings(settings):
        levels.add(finding.level)
        click.echo(f"{click.style(f'{finding.level:7}', fg=_COLOURS[finding.level])}  {finding.text}")
    return levels


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """All lines, the cluster's first."""
    cluster = Cluster(cluster_config(settings))
    try:
        async for finding in _cluster_findings(cluster, settings):
            yield finding
    except BridgeError as error:
        yield Finding("error", f"cluster: {error.reason}; check --cluster, the credentials and the CA")
    finally:
        await cluster.close()
    for finding in _machine_findings(settings):
        yield finding


async def _cluster_findings(cluster: Cluster, settings: Settings) -> AsyncIterator[Finding]:
    info = await cluster.info()
    yield Finding("ok", f"cluster: {info.distribution} {info.version}, {info.name!r}, at {settings.cluster}")
    if _version(info.version) < OLDEST:
        yield Finding("warning", f"version: {info.version} is older than any that the bridge is tried with; upgrade")
    for finding in _plugin_findings(info, settings):
        yield finding
    async for finding in _index_findings(cluster, IndexNames(settings.index_prefix)):
        yield finding


def _version(text: str) -> tuple[int, int]:
    parts = [int(p) for p in text.split(".")[:2] if p.isdigit()]
    return (parts[0], parts[1]) if len(parts) == 2 else (0, 0)


def _plugin_findings(info: ClusterInfo, settings: Settings) -> Iterator[Finding]:
    if not info.plugins:
        yield Finding("warning", "plugins: the cluster names none to this account; what follows from them is unknown")
    elif info.has_knn:
        yield Finding("ok", "k-NN: the plugin is there; neural queries and knn_vector fields work")
    else:
        yield Finding("warning", "k-NN: the plugin is missing; predict works, but neural queries need opensearch-knn")
    if info.has_security:
        yield Finding(
            "ok", "security: the plugin is there; callers are checked by the cluster, with their own credentials"
        )
    try:
        check_prefix(info, settings.index_prefix)
    except BridgeError as error:
        yield Finding("error", f"prefix: {error.reason}")
    else:
        beside = " beside the real ML Commons" if info.has_real_ml_commons else ""
        yield Finding("ok", f"prefix: indices {settings.index_prefix}*{beside}")


async def _index_findings(cluster: Cluster, names: IndexNames) -> AsyncIterator[Finding]:
    lacks = await lacking(cluster, [names.of(name) for name in TEMPLATES])
    unknown = any(lack.right.permission == "indices:admin/mappings/get" for lack in lacks)
    missing, older = ([], []) if unknown else await _not_in_place(cluster, names)
    complete = not unknown and not missing and not older
    for lack in lacks:
        yield _lack_finding(lack, complete)
    if missing:
        yield Finding(
            "ok", f"indices: {len(missing)} of {len(TEMPLATES)} are not made yet; `bridge init` or `serve` does"
        )
    if older:
        yield Finding("warning", f"indices: {', '.join(older)} are of an older version; `bridge init` upgrades them")
    if not lacks:
        yield Finding("ok", f"permissions: the bridge may make, read and write {names.prefix}*")


async def _not_in_place(cluster: Cluster, names: IndexNames) -> tuple[list[str], list[str]]:
    """Names of indices that are not made yet, and of those of an older version."""
    missing, older = [], []
    for name in TEMPLATES:
        stored = await stored_version(cluster, names.of(name))
        if stored is None:
            missing.append(names.of(name))
        elif stored < load_template(name).version:
            older.append(names.of(name))
    return missing, older


def _lack_finding(lack: Lacking, complete: bool) -> Finding:
    where = f" on {', '.join(lack.indices)}" if lack.indices else ""
    told = f"permissions: {lack.right.permission} is missing{where}, {lack.right.purpose}"
    if lack.right.setup and complete:
        return Finding("warning", f"{told}; an account that has it must run `bridge init` before the next upgrade")
    protected = (
        "; names that the security plugin protects need the admin certificate or system:admin/system_index too"
        if any(name.startswith(DEFAULT_PREFIX) for name in lack.indices)
        else ""
    )
    return Finding("error", f"{told}; docs/security.md has a role that suffices{protected}")


def _machine_findings(settings: Settings) -> Iterator[Finding]:
    if "ml" in settings.role_set:
        for line in explain_devices():
            yield Finding(line["level"], line["text"])
        have = memory.read()
        level = "ok" if have.available > _ROOM_FOR_A_MODEL else "warning"
        advice = "" if level == "ok" else "; models will be refused: free some, or run the ml role elsewhere"
        yield Finding(level, f"memory: {_gib(have.available)} of {_gib(have.total)} are free for models{advice}")
    yield _folder_finding(settings)


def _folder_finding(settings: Settings) -> Finding:
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.folder):
            return Finding("ok", f"data folder: {settings.folder} is writable")
    except OSError as error:
        return Finding("error", f"data folder: {settings.folder}: {error.strerror}; choose another with --data-dir")


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"
