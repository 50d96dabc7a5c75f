"""What a body says that makes or changes a connector, checked in ML Commons' order and words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.connectors import functions
from bridge.connectors.template import json_text
from bridge.domain.connector import Connector
from bridge.domain.texts import allowed
from bridge.errors import InvalidRequest, WrongToken
from bridge.wire import dumps_exact, token_of

HTTP = "http"
ACTION_TYPES = ("PREDICT", "EXECUTE", "BATCH_PREDICT", "CANCEL_BATCH_PREDICT", "BATCH_PREDICT_STATUS")
_PROTOCOLS = ("aws_sigv4", HTTP, "mcp_sse", "mcp_streamable_http")
_MCP = _PROTOCOLS[2:]
_POLICIES = ("constant", "exponential_equal_jitter", "exponential_full_jitter")
_CLIENT_CONFIG: dict[str, Any] = {
    "max_connection": 30,
    "connection_timeout": 30,
    "read_timeout": 30,
    "retry_backoff_millis": 200,
    "retry_timeout_seconds": 30,
    "max_retry_times": 0,
    "retry_backoff_policy": "constant",
    "skip_ssl_verification": False,
}
"""Defaults of ML Commons; times without a unit in their name are in seconds."""
_ACCESS = ("access_mode", "backend_roles", "add_all_backend_roles")
_ACTION_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")


def parse_create(body: Mapping[str, Any]) -> Connector:
    """A whole connector, its credential still readable. Raises InvalidRequest."""
    parsed = parse_fields(body)
    for name in ("name", "version", "protocol"):
        if parsed.get(name) is None:
            raise InvalidRequest(f"Connector {name} is null")
    protocol = parsed["protocol"]
    if not parsed.get("credential") and protocol not in _MCP:
        raise InvalidRequest("Connector credential is null or empty list")
    _check_protocol(protocol, parsed)
    _check_text("name", parsed["name"], required=True)
    _check_text("description", parsed.get("description"))
    if parsed.get("actions") is None:
        raise InvalidRequest("No actions configured for this connector")
    return Connector(**{"parameters": {}, **parsed})


def parse_inside(body: Mapping[str, Any]) -> Connector:
    """A connector for inside of a model's document, which needs less. Raises InvalidRequest."""
    parsed = parse_fields(body)
    protocol = parsed.get("protocol")
    if protocol is None:
        raise InvalidRequest("connector protocol is null")
    if protocol not in _PROTOCOLS:
        raise InvalidRequest(f"Can't find class for type {protocol}")
    _check_protocol(protocol, parsed)
    if not any(action["action_type"] == "PREDICT" for action in parsed.get("actions", ())):
        raise InvalidRequest("Connector endpoint is required when creating a remote model without connector id!")
    _check_text("name", parsed.get("name"))
    _check_text("description", parsed.get("description"))
    return Connector(**parsed)


def parse_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a body gives, as a Connector has them; others are skipped. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    for name in ("name", "version", "protocol", "description"):
        if name in body:
            fields[name] = _scalar(name, body[name])
    if body.get("parameters") is not None:
        fields["parameters"] = text_map("parameters", body["parameters"])
    if body.get("credential") is not None:
        given = _object("credential", body["credential"])
        fields["credential"] = {key: _scalar(f"credential.{key}", value) for key, value in given.items()}
    if "actions" in body:
        fields["actions"] = tuple(_action(value) for value in _array("actions", body["actions"]))
    if body.get("client_config") is not None:
        fields["client_config"] = _client_config(_object("client_config", body["client_config"]))
    return fields


def parse_changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an update. Raises InvalidRequest."""
    fields = parse_fields(body)
    if "name" in fields:
        _check_text("name", fields["name"], required=True)
    _check_text("description", fields.get("description"))
    if fields.get("credential") == {}:
        raise InvalidRequest("Connector credential is null or empty list")
    if "protocol" in fields:
        _check_protocol(fields["protocol"], fields)
    return fields


def asks_for_access(body: Mapping[str, Any]) -> bool:
    """Whether a body speaks of who may use the connector."""
    return any(body.get(name) is not None for name in _ACCESS)


def _check_protocol(protocol: str, fields: Mapping[str, Any]) -> None:
    if protocol not in _PROTOCOLS:
        raise InvalidRequest(f"Unsupported connector protocol. Please use one of [{', '.join(_PROTOCOLS)}]")
    if protocol in _MCP:
        raise InvalidRequest(
            "The MCP connector is not enabled. To enable, please update the setting"
            " plugins.ml_commons.mcp_connector_enabled"
        )
    if protocol != HTTP:
        _check_aws(fields)
        raise InvalidRequest(f"Connectors of protocol {protocol} are not available on this bridge yet.")


def _check_aws(fields: Mapping[str, Any]) -> None:
    credential = fields.get("credential") or {}
    if not credential.get("access_key") or not credential.get("secret_key"):
        raise InvalidRequest("Missing credential")
    for name, label in (("service_name", "service name"), ("region", "region")):
        if not credential.get(name) and not (fields.get("parameters") or {}).get(name):
            raise InvalidRequest(f"Missing {label}")


def _action(value: Any) -> dict[str, Any]:
    given = _object("an action", value)
    action: dict[str, Any] = {}
    for name in ("action_type", "method", "url"):
        if given.get(name) is not None:
            action[name] = _scalar(name, given[name])
    if "action_type" in action:
        action["action_type"] = action_type(action["action_type"])
    if given.get("headers") is not None:
        headers = _object("headers", given["headers"])
        action["headers"] = {key: _scalar(f"headers.{key}", one) for key, one in headers.items()}
    for name in ("request_body", "pre_process_function", "post_process_function", "name"):
        if given.get(name) is not None:
            action[name] = _scalar(name, given[name])
    for name, problem in (("action_type", "action type"), ("url", "url"), ("method", "method")):
        if name not in action:
            raise InvalidRequest(f"{problem} can't be null")
    _check_action_name(action.get("name"))
    functions.check_names(action.get("pre_process_function"), action.get("post_process_function"))
    return action


def action_type(text: str) -> str:
    """Upper case. Raises InvalidRequest for a type that there is not."""
    found = text.upper()
    if found not in ACTION_TYPES:
        raise InvalidRequest(f"No enum constant org.opensearch.ml.common.connector.ConnectorAction.ActionType.{found}")
    return found


def _check_action_name(name: str | None) -> None:
    if name is None:
        return
    if name.upper() in ACTION_TYPES:
        raise InvalidRequest(f"name can't be one of action type [{', '.join(ACTION_TYPES)}]")
    if len(name) > 64:
        raise InvalidRequest("Action name exceeds maximum length of 64 characters")
    if not _ACTION_NAME.match(name):
        raise InvalidRequest(
            "Action name contains invalid characters."
            " Only alphanumeric characters, hyphens, and underscores are allowed"
        )


def client_config(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """All eight fields, those of ML Commons where none is given."""
    return {**_CLIENT_CONFIG, **(stored or {})}


def _client_config(given: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(_CLIENT_CONFIG)
    for name, default in _CLIENT_CONFIG.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(default, bool):
            config[name] = _switch(value)
        else:
            config[name] = _integer(value) if isinstance(default, int) else str(value).lower()
    if config["retry_backoff_policy"] not in _POLICIES:
        raise InvalidRequest("Unsupported retry backoff policy")
    return config


def _integer(value: Any) -> int:
    try:
        if isinstance(value, (bool, list, dict)):
            raise ValueError
        return int(value)
    except ValueError:
        raise InvalidRequest(f'For input string: "{value}"', kind="number_format_exception") from None


def _switch(value: Any) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise InvalidRequest(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _check_text(label: str, text: str | None, *, required: bool = False) -> None:
    problem = None
    if required and not (text and text.strip()):
        problem = f"Model connector {label} is required and cannot be null or blank"
    elif text and not allowed(text):
        problem = (
            f"Model connector {label} can only contain letters, numbers, spaces, and basic punctuation (.,!?():@-_'/\")"
        )
    if problem:
        raise InvalidRequest(f"Validation Failed: 1: {problem};", kind="action_request_validation_exception")


def text_map(name: str, value: Any) -> dict[str, str]:
    """Parameters as ML Commons keeps them: texts, anything else as JSON text. Raises InvalidRequest."""
    return {key: json_text(one) for key, one in _object(name, value).items()}


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongToken(name, "START_OBJECT", token_of(value))
    return value


def _array(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise WrongToken(name, "START_ARRAY", token_of(value))
    return value


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (dict, list)):
        raise InvalidRequest(f"{name} must be a text", kind="parse_exception")
    return dumps_exact(value).decode()
