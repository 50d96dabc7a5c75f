"""The system indices: made from `index_templates/`, and brought up to the version that this bridge knows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import structlog

from bridge.errors import ClusterError, Conflict, Forbidden
from bridge.store.cluster import Cluster, ClusterInfo
from bridge.store.stores import DEFAULT_PREFIX, IndexNames

log = structlog.get_logger(__name__)

TEMPLATES = (
    "model-group", "model", "task", "connector", "controller",
    "bridge-claim", "bridge-node", "bridge-pipeline", "bridge-config",
)  # fmt: skip

_FIXED = ("index.number_of_shards", "index.sort.field", "index.sort.order")
"""Settings that stand for the life of an index."""


@dataclass(frozen=True)
class Template:
    """One index as it should be; `version` is its `_meta.schema_version`."""

    name: str
    settings: dict[str, Any]
    mappings: dict[str, Any]

    @property
    def version(self) -> int:
        """Counts up with each change of the mapping; ML Commons' own number where the index is its."""
        return int(self.mappings["_meta"]["schema_version"])


def templates_folder() -> Path:
    """`bridge/index_templates` in an installed wheel, the top-level folder in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "index_templates"
    return installed if installed.is_dir() else package.parent / "index_templates"


@cache
def load_template(name: str) -> Template:
    """The template of that name, read once."""
    content = orjson.loads((templates_folder() / f"{name}.json").read_bytes())
    return Template(name, content["settings"], content["mappings"])


async def ensure_all(cluster: Cluster, names: IndexNames) -> None:
    """Make what is missing and upgrade what is older; safe to run by several bridges at once, and again.

    An index of a newer version is left as it is, with a warning: a newer bridge or plugin wrote it. Raises Forbidden
    where the cluster protects the names, ClusterError and ClusterUnavailable.
    """
    await asyncio.gather(*(ensure(cluster, names.of(name), load_template(name)) for name in TEMPLATES))
    await check_access(cluster, names)


async def ensure(cluster: Cluster, index: str, template: Template) -> None:
    """Make or upgrade one index. Raises as `ensure_all`."""
    stored = await stored_version(cluster, index)
    if stored is None:
        if await _create(cluster, index, template):
            return
        stored = await stored_version(cluster, index) or 0
    if stored < template.version:
        await _upgrade(cluster, index, template, stored)
    elif stored > template.version:
        log.warning("index of a newer version is used as it is", action="index.newer", index=index, version=stored)


async def stored_version(cluster: Cluster, index: str) -> int | None:
    """The `_meta.schema_version` of an index, 0 when it has none, None when there is no such index."""
    answer = await cluster.attempt("GET", f"/{index}/_mapping")
    if answer.status == 404:
        return None
    _check(answer.status, answer.body, index)
    found = answer.body.get(index) or next(iter(answer.body.values()))
    return int(found["mappings"].get("_meta", {}).get("schema_version", 0))


async def _create(cluster: Cluster, index: str, template: Template) -> bool:
    """False when another bridge (or an earlier try of this one) made it first."""
    body = {"settings": template.settings, "mappings": template.mappings}
    answer = await cluster.attempt("PUT", f"/{index}", body=body)
    if answer.status == 400 and _type(answer.body) == "resource_already_exists_exception":
        return False
    _check(answer.status, answer.body, index)
    log.info("index made", action="index.created", index=index, version=template.version)
    return True


async def _upgrade(cluster: Cluster, index: str, template: Template, stored: int) -> None:
    dynamic = {key: value for key, value in template.settings.items() if key not in _FIXED}
    # The mapping goes last: it carries the version, so a crash in between repeats the whole upgrade.
    for part, body in (("_settings", dynamic), ("_mapping", template.mappings)):
        answer = await cluster.attempt("PUT", f"/{index}/{part}", body=body)
        _check(answer.status, answer.body, index)
    log.info("index upgraded", action="index.upgraded", index=index, before=stored, version=template.version)


async def check_access(cluster: Cluster, names: IndexNames) -> None:
    """Raise Forbidden unless the bridge may write in each index."""
    for name in TEMPLATES:
        await check_writable(cluster, names.of(name))


async def check_writable(cluster: Cluster, index: str) -> None:
    """Raise Forbidden, with the ways out, unless the bridge may write in this index.

    The question is a compare-and-set on a document that does not exist: where writing is allowed the answer is a
    conflict, and nothing is written either way.
    """
    params = {"if_seq_no": 0, "if_primary_term": 1}
    answer = await cluster.attempt("PUT", f"/{index}/_doc/bridge-access", params=params, body={})
    if answer.status != 409:
        _check(answer.status, answer.body, index)


def check_prefix(info: ClusterInfo, prefix: str) -> None:
    """Raise Conflict when the prefix is that of the real ML Commons in the same cluster.

    Two owners of the same model and task documents would undo each other's work.
    """
    if info.has_real_ml_commons and prefix == DEFAULT_PREFIX:
        raise Conflict(
            f"this cluster runs ML Commons itself, which owns the indices {prefix}*: give the bridge indices of its "
            "own with --index-prefix (or BRIDGE_INDEX_PREFIX), for example .bridge-ml-"
        )


def _type(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("type") if isinstance(error, dict) else None


def _check(status: int, body: Any, index: str) -> None:
    if status == 403:
        raise Forbidden(
            f"the cluster does not let the bridge write in {index}: {ClusterError(status, body).reason}. Either choose "
            "indices of its own with --index-prefix (or BRIDGE_INDEX_PREFIX), for example .bridge-ml-, and allow its "
            "role to manage them; or, to use names that the security plugin protects, give the bridge the admin client "
            "certificate or a role with the permission system:admin/system_index"
        )
    if status >= 400:
        raise ClusterError(status, body)
