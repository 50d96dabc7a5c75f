"""What the handlers of the slow lane work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from bridge.errors import UNREADABLE_BODY, BridgeError, InvalidRequest, TooManyRequests, error_body, status_of
from bridge.models.predictor import Predictor
from bridge.pipelines.cache import PipelineCache
from bridge.proxy.slow.resolve import Resolver
from bridge.proxy.slow.upstream import Upstream, json_answer
from bridge.store.live_settings import LiveSettings
from bridge.wire import dumps_exact

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class SlowServices:
    """`max_body` bounds what is held in memory of one request, in bytes after inflating."""

    upstream: Upstream
    pipelines: PipelineCache
    resolver: Resolver
    predictor: Predictor
    max_body: int = 256 * 1024 * 1024
    settings: LiveSettings | None = None


def error_answer(error: BridgeError) -> web.Response:
    """The cluster's error envelope."""
    response = json_answer(status_of(error), dumps_exact(error_body(error)))
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def guarded(handler: Handler) -> Handler:
    """Whatever goes wrong, the client gets a clean error and never a traceback."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BridgeError as error:
            return error_answer(error)
        except web.RequestPayloadError:
            refused = error_answer(InvalidRequest(UNREADABLE_BODY))
            # The server ends this connection, so nobody may take it for a kept one.
            refused.force_close()
            return refused
        except web.HTTPException:
            raise
        except ConnectionError:
            # The client has gone; there is nobody to tell.
            raise
        except Exception as error:
            log.exception("request failed", action="slow.failed", method=request.method, path=request.path)
            return error_answer(_Unexpected(f"The bridge could not serve this request ({type(error).__name__})."))

    return guard


class _Unexpected(BridgeError):
    """A defect of ours."""
