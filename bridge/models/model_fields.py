"""Fields that register, register_meta and update share: read with the words of ML Commons, kept as it stores them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jsonschema import SchemaError
from jsonschema.validators import validator_for

from bridge.domain.names import FrameworkType, FunctionName, ModelFormat, PoolingMode
from bridge.errors import InvalidRequest, WrongToken
from bridge.wire import dumps, read_flag, read_integer, read_real, read_text, token_of

E = TypeVar("E")

TIME_UNITS = ("NANOSECONDS", "MICROSECONDS", "MILLISECONDS", "SECONDS", "MINUTES", "HOURS", "DAYS")
"""Units of a rate limit: the constants of java.util.concurrent.TimeUnit, upper case only."""

SIDES = ("output", "input")
"""The schemas of an interface, in the order in which ML Commons keeps them."""
_GUARDRAIL_TYPES = ("local_regex", "model")
_TEXT_EMBEDDING_ORDER = (
    "model_type", "embedding_dimension", "framework_type", "all_config", "additional_config", "model_max_length",
    "pooling_mode", "normalize_result", "query_prefix", "passage_prefix",
)  # fmt: skip
_QUESTION_ANSWERING_ORDER = ("model_type", "framework_type", "all_config", "model_max_length", "normalize_result")
_REMOTE_ORDER = (
    "model_type", "embedding_dimension", "framework_type", "all_config", "pooling_mode", "normalize_result",
    "model_max_length", "additional_config", "query_prefix", "passage_prefix",
)  # fmt: skip
_BASE_ORDER = (
    "model_type", "all_config", "additional_config", "embedding_dimension", "framework_type", "model_max_length",
    "pooling_mode", "normalize_result", "query_prefix", "passage_prefix",
)  # fmt: skip


def chosen(kind: Callable[[str], E], value: Any, problem: str) -> E | None:
    """An enum's member in any case, None for None. Raises InvalidRequest with `problem`."""
    if value is None:
        return None
    try:
        return kind(str(value).upper())
    except ValueError as error:
        raise InvalidRequest(problem) from error


def function_name(value: Any) -> FunctionName | None:
    """Raises InvalidRequest."""
    return chosen(FunctionName, value, "Wrong function name")


def model_format(value: Any) -> ModelFormat | None:
    """Raises InvalidRequest."""
    return chosen(ModelFormat, value, "Wrong model format")


def rate_limiter(value: Any) -> dict[str, Any] | None:
    """`{"limit": text, "unit": TimeUnit}`; what is not given stays out. Raises InvalidRequest, WrongToken."""
    if value is None:
        return None
    said = _object("rate_limiter", value)
    made: dict[str, Any] = {}
    if said.get("limit") is not None:
        made["limit"] = _limit(read_text(said["limit"]))
    if said.get("unit") is not None:
        unit = read_text(said["unit"])
        if unit not in TIME_UNITS:
            raise InvalidRequest(f"No enum constant java.util.concurrent.TimeUnit.{unit}")
        made["unit"] = unit
    return made


def _limit(text: str) -> str:
    try:
        number = read_real(text)
    except InvalidRequest:
        number = math.nan
    if math.isnan(number) or number < 0:
        raise InvalidRequest("Limit field must be a positive number.", kind="parse_exception")
    return text


def deploy_setting(value: Any) -> dict[str, Any] | None:
    """`is_auto_deploy_enabled` when given, `model_ttl_minutes` always (-1: for ever). Raises InvalidRequest."""
    if value is None:
        return None
    said = _object("deploy_setting", value)
    made: dict[str, Any] = {}
    if said.get("is_auto_deploy_enabled") is not None:
        made["is_auto_deploy_enabled"] = read_flag(said["is_auto_deploy_enabled"])
    minutes = said.get("model_ttl_minutes")
    try:
        made["model_ttl_minutes"] = -1 if minutes is None else read_integer(minutes)
    except InvalidRequest as error:
        raise InvalidRequest(error.reason) from error
    return made


def interface(value: Any) -> dict[str, str] | None:
    """The JSON schemas of input and output as texts, in the order in which ML Commons keeps them.

    Raises InvalidRequest for what is no schema: ML Commons takes it, and then refuses or passes every predict.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise WrongToken("interface", "START_OBJECT", token_of(value))
    return {name: _schema(name, value[name]) for name in SIDES if value.get(name) is not None}


def _schema(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else dumps(value).decode()
    try:
        schema = json.loads(text)
        if not isinstance(schema, (dict, bool)):
            raise InvalidRequest(f"interface.{name} is not a JSON schema: it must be an object")
        checker: Any = validator_for(schema)
        checker.check_schema(schema)
    except ValueError as error:
        raise InvalidRequest(f"interface.{name} is not JSON: {error}") from error
    except SchemaError as error:
        raise InvalidRequest(f"interface.{name} is not a JSON schema: {error.message}") from error
    return text


def guardrails(value: Any) -> dict[str, Any] | None:
    """With its `type` in front (default local_regex), empty guardrails left out. Raises InvalidRequest, WrongToken."""
    if value is None:
        return None
    said = _object("guardrails", value)
    kind = read_text(said["type"]) if said.get("type") is not None else "local_regex"
    if kind not in _GUARDRAIL_TYPES:
        raise InvalidRequest("The type of guardrails is required, can not be null.")
    made: dict[str, Any] = {"type": kind}
    for name in ("input_guardrail", "output_guardrail"):
        if said.get(name):
            made[name] = _object(name, said[name])
    return made


def texts(field: str, value: Any) -> list[str] | None:
    """A list of texts. Raises WrongToken."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise WrongToken(field, "START_ARRAY", token_of(value))
    return [read_text(item) for item in value]


def model_config(
    value: Any, order: FunctionName = FunctionName.TEXT_EMBEDDING, *, keep_false: bool = False
) -> dict[str, Any] | None:
    """The known fields of a `model_config` in the order in which a config of this function is stored.

    A false `normalize_result` is left out, as ML Commons does, unless it says something (`keep_false`): over a true
    one, or where a Hugging Face folder has an own opinion. Raises InvalidRequest, WrongToken.
    """
    if value is None:
        return None
    said = _object("model_config", value)
    found = {name: _READERS[name](said[name]) for name in _BASE_ORDER if said.get(name) is not None}
    if found.get("normalize_result") is False and not keep_false:
        del found["normalize_result"]
    _refuse_doubles(found)
    return {name: found[name] for name in _ORDERS.get(order, _BASE_ORDER) if name in found}


_ORDERS = {
    FunctionName.TEXT_EMBEDDING: _TEXT_EMBEDDING_ORDER,
    FunctionName.QUESTION_ANSWERING: _QUESTION_ANSWERING_ORDER,
    FunctionName.REMOTE: _REMOTE_ORDER,
}


def _refuse_doubles(config: Mapping[str, Any]) -> None:
    additional = config.get("additional_config")
    if not additional or "all_config" not in config:
        return
    try:
        whole = json.loads(config["all_config"])
    except ValueError:
        return
    doubles = [name for name in whole if name in additional] if isinstance(whole, dict) else []
    if doubles:
        raise InvalidRequest(f"Duplicate keys found in both all_config and additional_config: {', '.join(doubles)}")


def _framework(value: Any) -> str:
    found = chosen(FrameworkType, value, "Wrong framework type")
    return str(found and found.value)


def _pooling(value: Any) -> str:
    found = chosen(PoolingMode, value, "Wrong pooling method")
    return str(found and found.value)


def _additional(value: Any) -> dict[str, Any]:
    return _object("additional_config", value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "model_type": read_text,
    "all_config": read_text,
    "additional_config": _additional,
    "embedding_dimension": read_integer,
    "framework_type": _framework,
    "model_max_length": read_integer,
    "pooling_mode": _pooling,
    "normalize_result": read_flag,
    "query_prefix": read_text,
    "passage_prefix": read_text,
}


def _object(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongToken(field, "START_OBJECT", token_of(value))
    return value
