"""The internal door: predict calls of other nodes."""

from __future__ import annotations

import hmac

from aiohttp import web

from bridge.engines import inputs
from bridge.engines.faults import EngineFault, FaultCode
from bridge.errors import BridgeError, InvalidRequest, NotFound
from bridge.models import tensor_frame
from bridge.models.peers import NotHeld
from bridge.rest.body import read_object
from bridge.rest.services import services

_LONGEST = 600.0


class UnknownPeer(BridgeError):
    """The bearer token is not this node's."""

    status = 401
    default_kind = "security_exception"


async def predict_here(request: web.Request) -> web.Response:
    """Run a model that this node holds; 404 when it does not."""
    to = services(request)
    shown = request.headers.get("Authorization", "").encode()
    if not hmac.compare_digest(shown, f"Bearer {to.internal_token}".encode()):
        raise UnknownPeer("unknown node")
    body = await read_object(request) or {}
    seconds = min(_LONGEST, float(body.pop("seconds", _LONGEST)))
    try:
        asked = inputs.from_json(body)
        output = await to.predictor.predict_here(request.match_info["model_id"], asked, deadline=seconds)
    except NotHeld as error:
        raise NotFound(error.reason) from error
    except EngineFault as fault:
        if fault.code is FaultCode.BAD_INPUT:
            raise InvalidRequest(fault.reason) from fault
        raise
    return web.Response(body=tensor_frame.encode(output), content_type=tensor_frame.CONTENT_TYPE)
