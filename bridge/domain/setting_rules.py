"""What a value of `plugins.ml_commons.*` may be: every key of ML Commons 3.6.0 with its type, range and scope.

Words and types of refusals are those of the cluster's own settings. A value is kept as the cluster keeps it: a text, or
a tuple of texts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from bridge.errors import InvalidRequest

PREFIX = "plugins.ml_commons."

SettingValue: TypeAlias = str | tuple[str, ...]
SettingValues: TypeAlias = Mapping[str, SettingValue]
"""Whole keys and their values."""

_UNITS = {"b": 0, "k": 1, "kb": 1, "m": 2, "mb": 2, "g": 3, "gb": 3, "t": 4, "tb": 4, "p": 5, "pb": 5}
_UNIT = re.compile(r"([kmgtp]b?|b)\Z")
_REAL = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?[fd]?\s*", re.IGNORECASE)
_INFINITY = re.compile(r"\s*[+-]?Infinity\s*")
_LONG = 64
_MOST_LONG = 2**63 - 1
_MOST_FLOAT = 3.4e38


class Kind(StrEnum):
    """How a value is read."""

    INT = "int"
    LONG = "long"
    FLOAT = "float"
    BOOL = "bool"
    BYTES = "bytes"
    TEXT = "text"
    TEXTS = "texts"
    PATTERN = "pattern"
    PATTERNS = "patterns"


class Scope(StrEnum):
    """Who may change a setting: anybody with the right to, the node's own configuration, nobody."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    FINAL = "final"


@dataclass(frozen=True)
class Rule:
    """One key, without its prefix; `least` and `most` are inclusive."""

    kind: Kind
    default: SettingValue
    least: float | None = None
    most: float | None = None
    scope: Scope = Scope.DYNAMIC


def _int(default: int, least: int | None = None, most: int | None = None, *, kind: Kind = Kind.INT) -> Rule:
    return Rule(kind, str(default), least, most)


def _on(scope: Scope = Scope.DYNAMIC) -> Rule:
    return Rule(Kind.BOOL, "true", scope=scope)


def _off(scope: Scope = Scope.DYNAMIC) -> Rule:
    return Rule(Kind.BOOL, "false", scope=scope)


def _text(default: str = "", scope: Scope = Scope.DYNAMIC) -> Rule:
    return Rule(Kind.TEXT, default, scope=scope)


def _texts(*default: str) -> Rule:
    return Rule(Kind.TEXTS, default)


RULES: Mapping[str, Rule] = {
    "ag_ui_enabled": _off(),
    "agent_framework_enabled": _on(),
    "agentic_memory_enabled": _on(),
    "allow_custom_deployment_plan": _off(),
    "allow_registering_model_via_local_file": _off(),
    "allow_registering_model_via_url": _off(),
    "batch_ingestion_bulk_size": _int(500, 100, 100_000),
    "connector.private_ip_enabled": _off(),
    "connector_access_control_enabled": _off(),
    "controller_enabled": _on(),
    "disk_free_space_threshold": Rule(Kind.BYTES, "5gb"),
    "enable_inhouse_python_model": _off(),
    "exclude_nodes._name": _text(),
    "execute_tools_enabled": _on(),
    "global_tenant_id": _text(scope=Scope.FINAL),
    "index_insight_feature_enabled": _off(),
    "jvm_heap_memory_threshold": _int(85, 0, 100),
    "local_model.enabled": _on(),
    "master_key_cache_ttl_minutes": Rule(Kind.INT, "5", 1, 1440, Scope.STATIC),
    "max_batch_inference_tasks": _int(100, 0, 10_000),
    "max_batch_ingestion_tasks": _int(100, 0, 10_000),
    "max_deploy_model_tasks_per_node": _int(10, 0, 10),
    "max_json_size": _int(100_000_000, -1),
    "max_ml_task_per_node": _int(10, 0, 10_000),
    "max_model_on_node": _int(10, 0, 10_000),
    "max_register_model_tasks_per_node": _int(10, 0, 10),
    "mcp_connector_enabled": _off(),
    "mcp_header_passthrough_enabled": _off(),
    "mcp_server_enabled": _off(),
    "memory_feature_enabled": _on(),
    "metrics_collection_enabled": _off(Scope.FINAL),
    "metrics_static_collection_enabled": _off(),
    "ml_task_timeout_in_seconds": _int(600, 1, 86_400),
    "model_access_control_enabled": _off(),
    "model_auto_deploy.enable": _on(),
    "model_auto_redeploy.enable": _on(),
    "model_auto_redeploy.lifetime_retry_times": _int(3),
    "model_auto_redeploy_success_ratio": Rule(Kind.FLOAT, "0.8", 0.0, 1.0),
    "monitoring_request_count": _int(100, 0, 10_000_000, kind=Kind.LONG),
    "multi_tenancy_enabled": _off(Scope.STATIC),
    "native_memory_threshold": _int(90, 0, 100),
    "offline_batch_inference_enabled": _on(),
    "offline_batch_ingestion_enabled": _on(),
    "only_run_on_ml_node": _on(),
    "rag_pipeline_feature_enabled": _on(),
    "remote_agentic_memory_enabled": _off(),
    "remote_inference.enabled": _on(),
    "remote_job.status_field": _texts("status", "Status", "TransformJobStatus"),
    "remote_job.status_regex.cancelled": _text("(stopped|cancelled)"),
    "remote_job.status_regex.cancelling": _text("(stopping|cancelling)"),
    "remote_job.status_regex.completed": _text("(complete|completed|partiallyCompleted)"),
    "remote_job.status_regex.expired": _text("(expired|timeout)"),
    "remote_job.status_regex.failed": _text("(failed)"),
    "remote_metadata_endpoint": _text(scope=Scope.FINAL),
    "remote_metadata_global_resource_cache_ttl": _text(scope=Scope.FINAL),
    "remote_metadata_region": _text(scope=Scope.FINAL),
    "remote_metadata_service_name": _text(scope=Scope.FINAL),
    "remote_metadata_type": _text(scope=Scope.FINAL),
    "safe_delete_model": _off(),
    "stream_enabled": _off(),
    "sync_up_job_interval_in_seconds": _int(10, 0, 86_400),
    "task_dispatch_policy": _text("round_robin"),
    "task_dispatcher.eligible_node_role.local_model": _texts("data", "ml"),
    "task_dispatcher.eligible_node_role.remote_model": _texts("data", "ml"),
    "trusted_connector_endpoints_regex": Rule(Kind.PATTERNS, ()),
    "trusted_url_regex": Rule(Kind.PATTERN, ""),
    "unified_agent_api_enabled": _off(),
}
"""By key without the prefix, in order. Where bridge.domain.cluster_settings has a field, its default counts."""


def rule_of(key: str) -> Rule | None:
    """The rule of a whole key."""
    return RULES.get(key.removeprefix(PREFIX)) if key.startswith(PREFIX) else None


def check(store: str, key: str, value: SettingValue | None) -> None:
    """Raise InvalidRequest unless `key` may get this value (None: be reset) in `store`, `persistent` or `transient`."""
    rule = rule_of(key)
    if rule is None:
        if value is None and key.endswith("*"):
            return
        raise _refused(f"{store} setting [{key}], not recognized")
    if rule.scope is Scope.FINAL:
        raise _refused(f"final {store} setting [{key}], not updateable")
    if rule.scope is Scope.STATIC:
        raise _refused(f"{store} setting [{key}], not dynamically updateable")
    if value is not None:
        read(key, rule, value)


def read(key: str, rule: Rule, value: SettingValue) -> bool | int | float | str | tuple[str, ...]:
    """The value as its kind; bytes as a number. Raises InvalidRequest with the cluster's words."""
    if rule.kind in (Kind.TEXTS, Kind.PATTERNS):
        return _each(key, rule, value)
    text = value if isinstance(value, str) else f"[{', '.join(value)}]"
    if rule.kind in (Kind.TEXT, Kind.PATTERN):
        return _one(key, rule, value)
    if rule.kind is Kind.BOOL:
        if text not in ("true", "false"):
            raise InvalidRequest(f"Failed to parse value [{text}] as only [true] or [false] are allowed.")
        return text == "true"
    if rule.kind is Kind.BYTES:
        return _bytes(key, text)
    return _number(key, rule, text)


def _each(key: str, rule: Rule, value: SettingValue) -> tuple[str, ...]:
    texts = value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())
    for text in texts if rule.kind is Kind.PATTERNS else ():
        _pattern(key, text)
    return texts


def _one(key: str, rule: Rule, value: SettingValue) -> str:
    text = value if isinstance(value, str) else ",".join(value)
    if rule.kind is Kind.PATTERN:
        _pattern(key, text)
    return text


def _pattern(key: str, text: str) -> None:
    # The cluster takes any text here and fails when it is first used.
    try:
        re.compile(text)
    except re.error as error:
        raise InvalidRequest(f"Failed to parse value [{text}] for setting [{key}]: {error}") from error


def _number(key: str, rule: Rule, text: str) -> int | float:
    problem = f"Failed to parse value [{text}] for setting [{key}]"
    try:
        number = _float(text) if rule.kind is Kind.FLOAT else _whole(text, _LONG if rule.kind is Kind.LONG else 32)
    except ValueError as error:
        cause = {"type": "number_format_exception", "reason": str(error)}
        raise InvalidRequest(problem, caused_by=cause) from error
    if rule.least is not None and number < rule.least:
        raise InvalidRequest(f"{problem} must be >= {_printed(rule, rule.least)}")
    if rule.most is not None and number > rule.most:
        raise InvalidRequest(f"{problem} must be <= {_printed(rule, rule.most)}")
    return number


def _printed(rule: Rule, limit: float) -> str:
    return str(float(limit)) if rule.kind is Kind.FLOAT else str(int(limit))


def _whole(text: str, bits: int) -> int:
    if not re.fullmatch(r"[+-]?\d+", text) or not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
        raise ValueError(f'For input string: "{text}"')
    return int(text)


def _float(text: str) -> float:
    """As Java's Float.parseFloat, but for NaN, which no limit holds, and for digits of base 16. Raises ValueError."""
    if _INFINITY.fullmatch(text):
        return float(text)
    if not _REAL.fullmatch(text):
        raise ValueError("empty String" if not text.strip() else f'For input string: "{text}"')
    number = float(text.strip().rstrip("fFdD"))
    return float(struct.unpack("f", struct.pack("f", number))[0]) if abs(number) < _MOST_FLOAT else number


def _bytes(key: str, text: str) -> int:
    lower = text.strip().lower()
    problem = f"failed to parse setting [{key}] with value [{text}] as a size in bytes"
    if lower in ("0", "-1"):
        return int(lower)
    found = _UNIT.search(lower)
    if found is None:
        missing = f"{problem}: unit is missing or unrecognized"
        raise InvalidRequest(missing, caused_by={"type": "parse_exception", "reason": missing})
    number, unit = lower[: found.start()].strip(), found[0]
    try:
        size = _whole(number, _LONG) << 10 * _UNITS[unit]
    except ValueError as error:
        raise _no_size(key, text, number, unit) from error
    beyond = "less than -1" if size < -1 else f"greater than {_MOST_LONG}" if size > _MOST_LONG else None
    if beyond is None:
        return size
    reason = f"Values {beyond} bytes are not supported: {text.strip()}"
    if unit == "b":
        raise InvalidRequest(reason)
    deeper = {"type": "illegal_argument_exception", "reason": reason}
    raise InvalidRequest(problem, caused_by={"type": "parse_exception", "reason": problem, "caused_by": deeper})


def _no_size(key: str, text: str, number: str, unit: str) -> InvalidRequest:
    """What org.opensearch.core.common.unit.ByteSizeValue has against a number that is no integer."""
    cause = {"type": "number_format_exception", "reason": f'For input string: "{number}"'}
    if unit == "b":
        return InvalidRequest(f"Failed to parse value [{text}] for setting [{key}]", caused_by=cause)
    reason = f"failed to parse [{text}]"
    if _REAL.fullmatch(number):
        reason = (
            f"Failed to parse bytes value [{text}]. Fractional bytes values have been deprecated since Legacy 6.2. Use"
            f" non-fractional bytes values instead: found for setting [{key}]"
        )
    return InvalidRequest(reason, caused_by={"type": "parse_exception", "reason": reason, "caused_by": cause})


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(reason, kind="settings_exception")
