"""`/_plugins/_ml/models/_register_meta` and `upload_chunk`: registering a model by chunks."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from bridge.domain.names import TaskState
from bridge.errors import InvalidRequest, NotAcceptable, NotFound
from bridge.models.upload import parse_meta
from bridge.rest import shapes
from bridge.rest.answers import answer
from bridge.rest.body import positions, required_object
from bridge.rest.models import LOCAL_MODELS_OFF, admitted, may_use
from bridge.rest.services import Services, services
from bridge.wire import read_integer

_SWITCHED_OFF = (
    "To upload custom model from local file, user needs to enable allow_registering_model_via_local_file settings."
    " Otherwise please use opensearch pre-trained models"
)
_NO_RIGHT = "You don't have permissions to perform this operation on this model."
_KINDS = ("application/json", "application/vnd.opensearch+json", "application/x-ndjson", "application/octet-stream")


async def begin(request: web.Request) -> web.Response:
    """Make a model to which chunks can be added."""
    to = services(request)
    _check_settings(to)
    empty = InvalidRequest("Model meta request has empty body", kind="parse_exception")
    body = await required_object(request, empty, shapes.MODEL_META)
    with positions(await request.read()):
        announced = parse_meta(body, most_bytes=to.uploads.most_bytes)
    announced = replace(announced, request=await admitted(request, announced.request, body))
    model_id = await to.uploads.begin(announced)
    return answer(request, {"model_id": model_id, "status": TaskState.CREATED.value})


async def add_chunk(request: web.Request) -> web.Response:
    """Store one chunk, the raw body."""
    to = services(request)
    content = await request.read()
    kind = request.headers.get("Content-Type", "")
    if content and kind.split(";")[0].strip().lower() not in _KINDS:
        raise NotAcceptable(f"Content-Type header [{kind}] is not supported")
    _check_settings(to, end=".")
    number = read_integer(request.match_info["chunk_number"])
    stored = await to.models.get(request.match_info["model_id"])
    if stored is None:
        raise NotFound("Failed to find model")
    await may_use(request, stored, refusal=InvalidRequest(_NO_RIGHT))
    await to.uploads.add(stored, number, content)
    return answer(request, {"status": "Uploaded"})


def _check_settings(to: Services, *, end: str = "") -> None:
    if not to.settings.current.allow_registering_model_via_local_file:
        raise InvalidRequest(_SWITCHED_OFF + end)
    if not to.settings.current.local_model_enabled:
        raise InvalidRequest(LOCAL_MODELS_OFF, kind="status_exception")
