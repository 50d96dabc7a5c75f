"""What a register request says, checked in the order and with the words of ML Commons."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.errors import InvalidRequest, NotFound, Unparsable
from bridge.models.naming import check_text
from bridge.wire import from_document

E = TypeVar("E")

TRUSTED_URL = r"^(https?|ftp|file|s3)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]"
"""Which model URLs are taken; ML Commons' own default, and s3."""

LOCAL_FUNCTIONS = (
    FunctionName.TEXT_EMBEDDING,
    FunctionName.SPARSE_ENCODING,
    FunctionName.SPARSE_TOKENIZE,
    FunctionName.TEXT_SIMILARITY,
    FunctionName.QUESTION_ANSWERING,
)
_WITHOUT_CONFIG = (FunctionName.SPARSE_ENCODING, FunctionName.SPARSE_TOKENIZE)
_CONFIG_KEYS = {
    "model_type": str,
    "embedding_dimension": int,
    "framework_type": str,
    "all_config": str,
    "pooling_mode": str,
    "normalize_result": bool,
    "model_max_length": int,
    "query_prefix": str,
    "passage_prefix": str,
    "additional_config": dict,
}


@dataclass(frozen=True, kw_only=True)
class RegisterRequest:
    """A checked request; it travels as the input of the REGISTER_MODEL task."""

    name: str
    function_name: FunctionName = FunctionName.TEXT_EMBEDDING
    description: str | None = None
    model_group_id: str | None = None
    model_format: ModelFormat | None = None
    url: str | None = None
    model_content_hash_value: str | None = None
    model_config: dict[str, Any] | None = None
    is_enabled: bool | None = None
    rate_limiter: dict[str, Any] | None = None
    deploy_setting: dict[str, Any] | None = None
    interface: dict[str, Any] | None = None
    deploy: bool = False


def parse_register(body: Mapping[str, Any], *, deploy: bool = False, trusted_url: str = TRUSTED_URL) -> RegisterRequest:
    """Check a register body. Raises InvalidRequest and NotFound (a remote model's connector)."""
    function = _chosen(FunctionName, body.get("function_name"), "Wrong function name") or FunctionName.TEXT_EMBEDDING
    model_format = _chosen(ModelFormat, body.get("model_format"), "Wrong model format")
    config = _config(body.get("model_config"), function if _function_first(body) else None)
    if body.get("name") is None:
        raise InvalidRequest("model name is null")
    if function is FunctionName.REMOTE:
        _refuse_remote(body)
    if function not in LOCAL_FUNCTIONS:
        raise InvalidRequest(f"{function} models cannot be registered")
    if model_format is None:
        raise InvalidRequest("model format is null")
    if body.get("url") is not None and config is None and function not in _WITHOUT_CONFIG:
        raise InvalidRequest("model config is null")
    _refuse_access_fields(body)
    document = {name: body.get(name) for name in RegisterRequest.__dataclass_fields__}
    document |= {"function_name": function, "model_format": model_format, "model_config": config, "deploy": deploy}
    request = from_document(RegisterRequest, document)
    check_text("Model name", request.name, required=True)
    check_text("Model description", request.description)
    if request.url is not None and not re.search(trusted_url, request.url):
        raise InvalidRequest("URL can't match trusted url regex")
    return request


def _chosen(kind: Callable[[str], E], value: Any, problem: str) -> E | None:
    if value is None:
        return None
    try:
        return kind(str(value).upper())
    except ValueError as error:
        raise InvalidRequest(problem) from error


def _function_first(body: Mapping[str, Any]) -> bool:
    """ML Commons checks a config by the function it has read so far, so one that stands first passes with less."""
    names = list(body)
    return (
        "function_name" in names
        and "model_config" in names
        and (names.index("function_name") < names.index("model_config"))
    )


def _refuse_remote(body: Mapping[str, Any]) -> None:
    connector_id = body.get("connector_id")
    if connector_id is not None:
        raise NotFound(f"Failed to find connector:{connector_id}")
    if body.get("connector") is None:
        raise InvalidRequest("You must provide connector content when creating a remote model without connector id!")
    raise InvalidRequest("Connectors are not available on this bridge yet.")


def _refuse_access_fields(body: Mapping[str, Any]) -> None:
    if any(body.get(name) for name in ("access_mode", "backend_roles", "add_all_backend_roles")):
        raise InvalidRequest(
            "You cannot specify model access control parameters because the Security plugin or model access control"
            " is disabled on your cluster."
        )


def _config(value: Any, function: FunctionName | None) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unparsable("Failed to parse object: expecting token of type [START_OBJECT] but found a value")
    config = {name: _scalar(value[name], kind) for name, kind in _CONFIG_KEYS.items() if value.get(name) is not None}
    framework = _chosen(FrameworkType, config.get("framework_type"), "Wrong framework type")
    pooling = _chosen(PoolingMode, config.get("pooling_mode"), "Wrong pooling method")
    _check_config(config, function, framework)
    if framework is not None:
        config["framework_type"] = framework.value
    if pooling is not None:
        config["pooling_mode"] = pooling.value
    return config


def _check_config(config: Mapping[str, Any], function: FunctionName | None, framework: FrameworkType | None) -> None:
    if function in (None, FunctionName.TEXT_EMBEDDING) and "model_type" not in config:
        raise InvalidRequest("model type is null")
    if function is FunctionName.TEXT_EMBEDDING and "embedding_dimension" not in config:
        raise InvalidRequest("embedding dimension is null")
    if function in (FunctionName.TEXT_EMBEDDING, FunctionName.QUESTION_ANSWERING) and framework is None:
        raise InvalidRequest("framework type is null")


def _scalar(value: Any, kind: type[Any]) -> Any:
    if kind is dict:
        if not isinstance(value, dict):
            raise Unparsable("Failed to parse object: expecting token of type [START_OBJECT] but found a value")
        return value
    return from_document(_BOXES[kind], {"value": value}).value


@dataclass(frozen=True)
class _Text:
    value: str


@dataclass(frozen=True)
class _Integer:
    value: int


@dataclass(frozen=True)
class _Switch:
    value: bool


_BOXES: dict[type[Any], type[Any]] = {str: _Text, int: _Integer, bool: _Switch}
