"""What a register request says, checked in the order and with the words of ML Commons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.domain.model import Model
from bridge.domain.names import FunctionName, ModelFormat, ModelState
from bridge.errors import InvalidRequest
from bridge.models import model_fields
from bridge.models.groups import Place, now_ms
from bridge.models.naming import check_text
from bridge.wire import from_document

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


@dataclass(frozen=True, kw_only=True)
class RegisterRequest:
    """A checked request; it travels as the input of the REGISTER_MODEL task. `version` counts for pretrained models."""

    name: str
    function_name: FunctionName = FunctionName.TEXT_EMBEDDING
    version: str | None = None
    description: str | None = None
    model_group_id: str | None = None
    model_format: ModelFormat | None = None
    url: str | None = None
    model_content_hash_value: str | None = None
    model_config: dict[str, Any] | None = None
    is_enabled: bool | None = None
    rate_limiter: dict[str, Any] | None = None
    deploy_setting: dict[str, Any] | None = None
    guardrails: dict[str, Any] | None = None
    interface: dict[str, Any] | None = None
    model_node_ids: list[str] | None = None
    deploy: bool = False


def parse_register(body: Mapping[str, Any], *, deploy: bool = False, trusted_url: str = TRUSTED_URL) -> RegisterRequest:
    """Check the body of a local model (bridge/models/remote_register.py has the others). Raises InvalidRequest."""
    document = read_fields(body) | {"deploy": deploy, "url": body.get("url")}
    function, model_format = document["function_name"], document["model_format"]
    document["model_node_ids"] = model_fields.texts("model_node_ids", body.get("model_node_ids"))
    if body.get("name") is None:
        raise InvalidRequest("model name is null")
    if function not in LOCAL_FUNCTIONS:
        raise InvalidRequest(f"{function} models cannot be registered")
    if model_format is None:
        raise InvalidRequest("model format is null")
    if document["url"] is not None and document["model_config"] is None and needs_config(function, model_format):
        raise InvalidRequest("model config is null")
    request = from_document(RegisterRequest, document)
    check_text("Model name", request.name, required=True)
    check_text("Model description", request.description)
    if request.url is not None and not re.search(trusted_url, request.url):
        raise InvalidRequest("URL can't match trusted url regex")
    return request


def model_of(request: RegisterRequest, place: Place) -> Model:
    """The document of a model that is being registered, without its content's fields."""
    now = now_ms()
    return Model(
        name=request.name,
        model_group_id=place.group_id,
        algorithm=request.function_name,
        model_version=str(place.version),
        description=request.description,
        model_format=request.model_format,
        model_state=ModelState.REGISTERING,
        model_config=request.model_config,
        deploy_setting=request.deploy_setting,
        is_enabled=request.is_enabled,
        rate_limiter=request.rate_limiter,
        created_time=now,
        last_updated_time=now,
        is_hidden=False,
        guardrails=request.guardrails,
        interface=request.interface,
    )


def read_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that registering by URL and by chunks share, as a model document keeps them.

    Raises InvalidRequest, WrongToken.
    """
    function = model_fields.function_name(body.get("function_name")) or FunctionName.TEXT_EMBEDDING
    model_format = model_fields.model_format(body.get("model_format"))
    own = model_format is ModelFormat.SAFETENSORS
    config = model_fields.model_config(body.get("model_config"), function, keep_false=own)
    check_config(config, function if _function_first(body) else None, model_format)
    return {
        "name": body.get("name"),
        "function_name": function,
        "version": body.get("version"),
        "description": body.get("description"),
        "model_group_id": None if body.get("model_group_id") in (None, "") else body["model_group_id"],
        "model_format": model_format,
        "model_content_hash_value": body.get("model_content_hash_value"),
        "model_config": config,
        "is_enabled": body.get("is_enabled"),
        "rate_limiter": model_fields.rate_limiter(body.get("rate_limiter")),
        "deploy_setting": model_fields.deploy_setting(body.get("deploy_setting")),
        "guardrails": model_fields.guardrails(body.get("guardrails")),
        "interface": model_fields.interface(body.get("interface")),
    }


def needs_config(function: FunctionName, model_format: ModelFormat | None) -> bool:
    """Whether a model must come with a `model_config`; one in SAFETENSORS brings its own."""
    return function not in _WITHOUT_CONFIG and model_format is not ModelFormat.SAFETENSORS


def check_config(
    config: Mapping[str, Any] | None, function: FunctionName | None, model_format: ModelFormat | None
) -> None:
    """Raises InvalidRequest for what the config of this function lacks; None: the function is not known yet."""
    if config is None or model_format is ModelFormat.SAFETENSORS:
        return
    if "model_type" not in config:
        raise InvalidRequest("model type is null")
    if function is FunctionName.TEXT_EMBEDDING and "embedding_dimension" not in config:
        raise InvalidRequest("embedding dimension is null")
    framed = function in (FunctionName.TEXT_EMBEDDING, FunctionName.QUESTION_ANSWERING)
    if framed and "framework_type" not in config:
        raise InvalidRequest("framework type is null")


def _function_first(body: Mapping[str, Any]) -> bool:
    """ML Commons checks a config by the function it has read so far, so one that stands first passes with less."""
    names = list(body)
    return (
        "function_name" in names
        and "model_config" in names
        and (names.index("function_name") < names.index("model_config"))
    )
