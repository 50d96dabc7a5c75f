"""The one place where failures become answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from bridge.errors import (
    UNREADABLE_BODY,
    BridgeError,
    InvalidRequest,
    NotAcceptable,
    TooLarge,
    TooManyRequests,
    Unavailable,
    error_body,
    status_of,
)
from bridge.rest.answers import JSON, answer
from bridge.wire import dumps

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RETRY_SECONDS = "1"
_REALM = 'Basic realm="OpenSearch Security"'


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Writes OpenSearch's error envelope for whatever a handler raises."""
    try:
        return await handler(request)
    except BridgeError as error:
        return failure(request, error)
    except web.HTTPNotFound:
        return no_handler(request)
    except web.HTTPMethodNotAllowed as refused:
        return wrong_method(request, sorted(refused.allowed_methods))
    except (web.HTTPRequestEntityTooLarge, web.RequestPayloadError) as refused:
        return _unreadable(request, refused)
    except web.HTTPException:
        raise
    except (ConnectionResetError, ConnectionAbortedError):
        # The client has gone; nobody reads an answer.
        raise
    except Exception:
        log.exception("unexpected error", action="rest.unexpected", method=request.method, path=request.path)
        return failure(request, _Unexpected("unexpected error, see the log of the bridge"))


def _unreadable(request: web.Request, refused: web.HTTPRequestEntityTooLarge | web.RequestPayloadError) -> web.Response:
    if isinstance(refused, web.HTTPRequestEntityTooLarge):
        return failure(request, TooLarge(refused.text or "the request body is too large"))
    # What is left of the body cannot be read either, and nothing after it on this connection.
    request.content.feed_eof()
    made = failure(request, InvalidRequest(UNREADABLE_BODY))
    made.force_close()
    return made


class Protocol(web.RequestHandler):
    """aiohttp's protocol; what it cannot parse is answered in the error envelope and is one line of the log."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that never reached the application. Raises ConnectionError when one is half sent."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        first = (message or "").strip().partition("\n")[0].rstrip(":")
        encoded = isinstance(exc, ContentEncodingError)
        error = InvalidRequest(UNREADABLE_BODY if encoded else f"the request cannot be read: {first}")
        log.info(error.reason, action="rest.unreadable", said=first)
        made = web.Response(body=dumps(error_body(error)), status=status, headers={"Content-Type": JSON})
        made.force_close()
        return made


class _Unexpected(BridgeError):
    """A defect of the bridge; what happened stands in its log, not in the answer."""


def failure(request: web.Request, error: BridgeError) -> web.Response:
    """The answer to an error."""
    status = status_of(error)
    body: Any = error_body(error)
    if isinstance(error, NotAcceptable):
        body = {"error": error.reason, "status": status}
    if isinstance(body, (str, type(None))):
        # The security plugin refuses in plain text.
        refused = web.Response(text=body or "", status=status, content_type="text/plain")
        if status == 401:
            refused.headers["WWW-Authenticate"] = 'Basic realm="OpenSearch Security"'
        return refused
    made = answer(request, body, status)
    if isinstance(error, TooManyRequests):
        made.headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, Unavailable):
        made.headers["Retry-After"] = _RETRY_SECONDS
    return made


def no_handler(request: web.Request) -> web.Response:
    """OpenSearch's answer to a route that nobody has."""
    reason = f"no handler found for uri [{request.path}] and method [{request.method}]"
    return answer(request, {"error": reason}, 400)


def wrong_method(request: web.Request, allowed: list[str]) -> web.Response:
    """OpenSearch's answer to a path that has other methods; OPTIONS asks for just these."""
    listed = [method for method in allowed if method not in ("HEAD", "OPTIONS")]
    if request.method == "OPTIONS":
        named = {"Allow": ",".join(listed)} if listed else {}
        return web.Response(body=b"", headers={"Content-Type": "text/plain; charset=UTF-8", **named})
    reason = (
        f"Incorrect HTTP method for uri [{request.path_qs}] and method [{request.method}],"
        f" allowed: [{', '.join(listed)}]"
    )
    made = answer(request, {"error": reason, "status": 405}, 405)
    made.headers["Allow"] = ",".join(listed)
    return made
