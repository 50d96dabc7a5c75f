"""Models, their chunks and groups, with fields in the order in which ML Commons prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.domain.names import FunctionName, ModelFormat, ModelState

OWN_FIELDS = ("bridge_plan",)
"""Fields of a model's document that ML Commons does not know; clients never see them."""
CHUNK_SIZE = 10_000_000
"""Raw bytes in one chunk (ML Commons writes 10 decimal megabytes)."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's document, without its content.

    `model_config`, `deploy_setting`, `rate_limiter`, `guardrails`, `interface` and `connector` are kept as the
    JSON objects they are on the wire, validated where they come in (bridge/rest). Absent fields are None.
    `bridge_plan` counts deployments: each writes the next number, and what nodes report counts for the number that they
    saw (docs/decisions/0012). A document that the real ML Commons wrote has none, which reads as 0.
    """

    name: str
    model_group_id: str | None = None
    algorithm: FunctionName = FunctionName.TEXT_EMBEDDING
    model_version: str | None = None
    description: str | None = None
    model_format: ModelFormat | None = None
    model_state: ModelState | None = None
    model_content_size_in_bytes: int | None = None
    model_content_hash_value: str | None = None
    model_config: dict[str, Any] | None = None
    deploy_setting: dict[str, Any] | None = None
    is_enabled: bool | None = None
    is_controller_enabled: bool | None = None
    rate_limiter: dict[str, Any] | None = None
    created_time: int | None = None
    last_updated_time: int | None = None
    last_registered_time: int | None = None
    last_deployed_time: int | None = None
    last_undeployed_time: int | None = None
    model_id: str | None = None
    auto_redeploy_retry_times: int | None = None
    total_chunks: int | None = None
    planning_worker_node_count: int | None = None
    current_worker_node_count: int | None = None
    planning_worker_nodes: tuple[str, ...] | None = None
    deploy_to_all_nodes: bool | None = None
    is_hidden: bool | None = None
    connector: dict[str, Any] | None = None
    connector_id: str | None = None
    guardrails: dict[str, Any] | None = None
    interface: dict[str, Any] | None = None
    tenant_id: str | None = None
    bridge_plan: int | None = None

    @property
    def plan(self) -> int:
        """The number of the deployment that counts now."""
        return self.bridge_plan or 0


@dataclass(frozen=True, kw_only=True)
class ModelChunk:
    """One piece of a model's zip, stored in the model index under `<model_id>_<chunk_number>`.

    `model_content` is standard base64 of at most CHUNK_SIZE raw bytes; chunk numbers start at 0.
    """

    name: str | None = None
    model_group_id: str | None = None
    algorithm: FunctionName
    model_version: str | None = None
    model_content: str | None = None
    model_format: ModelFormat | None = None
    created_time: int | None = None
    last_updated_time: int | None = None
    model_id: str
    chunk_number: int
    total_chunks: int | None = None
    is_hidden: bool | None = None


def chunk_id(model_id: str, number: int) -> str:
    """The document id of chunk `number`, counted from 0."""
    return f"{model_id}_{number}"


@dataclass(frozen=True, kw_only=True)
class ModelGroup:
    """A named line of model versions; `latest_version` counts registrations and never goes down by a delete."""

    name: str
    latest_version: int = 0
    description: str | None = None
    backend_roles: tuple[str, ...] | None = None
    owner: dict[str, Any] | None = None
    access: str | None = None
    created_time: int | None = None
    last_updated_time: int | None = None
    tenant_id: str | None = None
