"""The cluster-wide settings `plugins.ml_commons.*` that mean something to the bridge, with ML Commons' defaults.

A field's name is the key after `plugins.ml_commons.` with `_` for each dot. Where the bridge's default differs the
reason stands at the field and in docs/compatibility.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Protocol

from bridge.domain.setting_rules import PREFIX, RULES, Rule, Scope, SettingValue, SettingValues, read
from bridge.errors import InvalidRequest

TRUSTED_CONNECTOR_ENDPOINTS = (
    r"^https://runtime\.sagemaker\..*[a-z0-9-]\.amazonaws\.com/.*$",
    r"^https://api\.sagemaker\..*[a-z0-9-]\.amazonaws\.com/.*$",
    r"^https://api\.openai\.com/.*$",
    r"^https://api\.cohere\.ai/.*$",
    r"^https://api\.deepseek\.com/.*$",
    r"^https://generativelanguage\.googleapis\.com/.*$",
    r"^https://bedrock-runtime\..*[a-z0-9-]\.amazonaws\.com/.*$",
    r"^https://bedrock-agent-runtime\..*[a-z0-9-]\.amazonaws\.com/.*$",
    r"^https://bedrock\..*[a-z0-9-]\.amazonaws\.com/.*$",
    r"^https://textract\..*[a-z0-9-]\.amazonaws\.com$",
    r"^https://comprehend\..*[a-z0-9-]\.amazonaws\.com$",
    r"^https://rekognition(-fips)?\..*[a-z0-9-]\.amazonaws\.com$",
)


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """One consistent state of all settings; a change makes a new object."""

    task_dispatch_policy: str = "round_robin"
    max_model_on_node: int = 10
    max_register_model_tasks_per_node: int = 10
    max_deploy_model_tasks_per_node: int = 10
    max_ml_task_per_node: int = 10
    only_run_on_ml_node: bool = True
    sync_up_job_interval_in_seconds: int = 10
    ml_task_timeout_in_seconds: int = 600
    monitoring_request_count: int = 100
    trusted_url_regex: str = r"^(https?|ftp|file|s3)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]"
    native_memory_threshold: int = 90
    jvm_heap_memory_threshold: int = 85
    # Bytes; ML Commons has 5gb. A full disk is no reason to refuse a predict that writes nothing.
    disk_free_space_threshold: int = 0
    exclude_nodes__name: str = ""
    # Both are what the bridge is for; ML Commons has False.
    allow_custom_deployment_plan: bool = True
    allow_registering_model_via_url: bool = True
    # ML Commons has False; chunks come from a client that could as well give a URL.
    allow_registering_model_via_local_file: bool = True
    model_auto_deploy_enable: bool = True
    model_auto_redeploy_enable: bool = True
    model_auto_redeploy_lifetime_retry_times: int = 3
    model_auto_redeploy_success_ratio: float = 0.8
    remote_inference_enabled: bool = True
    local_model_enabled: bool = True
    offline_batch_inference_enabled: bool = True
    model_access_control_enabled: bool = False
    connector_access_control_enabled: bool = False
    trusted_connector_endpoints_regex: tuple[str, ...] = TRUSTED_CONNECTOR_ENDPOINTS
    connector_private_ip_enabled: bool = False
    controller_enabled: bool = True
    safe_delete_model: bool = False


def field_of(key: str) -> str:
    """The field that holds a whole key, whether or not there is one."""
    return key.removeprefix(PREFIX).replace(".", "_")


def with_values(base: ClusterSettings, values: SettingValues) -> ClusterSettings:
    """`base` with the values of the keys that have a field; a value that no rule allows (any more) is left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        rule = RULES.get(key.removeprefix(PREFIX))
        if rule is None or field_of(key) not in _names() or rule.scope is not Scope.DYNAMIC:
            continue
        try:
            found[field_of(key)] = read(key, rule, value)
        except InvalidRequest:
            continue
    return replace(base, **found)


def defaults(base: ClusterSettings) -> dict[str, SettingValue]:
    """Every key with its default as the cluster prints defaults; those of `base` where it has a field."""
    return {PREFIX + name: _default(name, rule, base) for name, rule in RULES.items()}


def _default(name: str, rule: Rule, base: ClusterSettings) -> SettingValue:
    value = getattr(base, field_of(name), None)
    if value is None:
        return rule.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return value
    return f"{value}b" if name == "disk_free_space_threshold" else str(value)


@cache
def _names() -> frozenset[str]:
    return frozenset(field.name for field in fields(ClusterSettings))


class CurrentSettings(Protocol):
    """Whoever knows the settings as they are now; `bridge.store.live_settings.LiveSettings` in a running bridge."""

    @property
    def current(self) -> ClusterSettings:
        """Never waits, never fails; at most about a second behind the cluster's document."""


class FixedSettings:
    """Settings that nobody changes: for tests and tools."""

    def __init__(self, current: ClusterSettings | None = None) -> None:
        self.current = current or ClusterSettings()
