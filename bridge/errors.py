"""The whole error tree.

    BridgeError                     500  exception
    |- InvalidRequest               400  illegal_argument_exception
    |  `- Unparsable                400  parsing_exception
    |- Forbidden                    403  status_exception
    |- NotFound                     404  status_exception
    |- Conflict                     409  status_exception
    |  `- VersionConflict           409  version_conflict_engine_exception
    |- NotAcceptable                406  (content type; body without envelope, as the cluster writes it)
    |- TooLarge                     413  content_too_long_exception
    |- TooManyRequests              429  rejected_execution_exception
    |- Unavailable                  503  bridge_unavailable_exception
    |  `- ClusterUnavailable        503  the cluster did not give a whole, readable answer: retry, never a state
    |- ClusterError                 its own status; the cluster's answer, passed on untouched
    |- EngineError                  500  engine_exception: a model file or a run failed
    |- RemoteServiceError           the status that a remote model's service answered with
    `- ClaimLost                    409  the lease went to somebody else: drop the result, tell nobody

Each error knows its HTTP status and OpenSearch type; `kind` may be given for one occurrence where ML Commons
names another type for the same status. `reason` is what the client reads.
"""

from __future__ import annotations

from typing import Any, ClassVar

UNREADABLE_BODY = "the request body cannot be read in its Content-Encoding"


class BridgeError(Exception):
    """Base of all errors that may reach a client; never raised itself."""

    status: ClassVar[int] = 500
    default_kind: ClassVar[str] = "exception"

    def __init__(self, reason: str, *, kind: str | None = None, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind or self.default_kind
        self.details = details


class InvalidRequest(BridgeError):
    """The client's mistake."""

    status = 400
    default_kind = "illegal_argument_exception"


class Unparsable(InvalidRequest):
    """A body that is not the JSON it should be."""

    default_kind = "parsing_exception"


class WrongToken(Unparsable):
    """A value of another JSON kind than its field has; who has the bytes adds line and column to `details`.

    `expected` and `found` are the parser's names of tokens: START_OBJECT, VALUE_NULL.
    """

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"Failed to parse object: expecting token of type [{expected}] but found [{found}]")
        self.field = field


class Forbidden(BridgeError):
    """Known caller, missing right (or a disabled model)."""

    status = 403
    default_kind = "status_exception"


class NotFound(BridgeError):
    """No such model, task, group or pipeline."""

    status = 404
    default_kind = "status_exception"


class Conflict(BridgeError):
    """The resource is in a state that forbids the call."""

    status = 409
    default_kind = "status_exception"


class VersionConflict(Conflict):
    """Somebody wrote the document since it was read."""

    default_kind = "version_conflict_engine_exception"


class NotAcceptable(BridgeError):
    """A content type that the cluster would not read either."""

    status = 406
    default_kind = "status_exception"


class TooLarge(BridgeError):
    """A body beyond the limit."""

    status = 413
    default_kind = "content_too_long_exception"


class TooManyRequests(BridgeError):
    """A queue is full or a rate is exceeded; `retry_after` is in seconds."""

    status = 429
    default_kind = "rejected_execution_exception"

    def __init__(self, reason: str, *, kind: str | None = None, retry_after: int = 1, **details: Any) -> None:
        super().__init__(reason, kind=kind, **details)
        self.retry_after = retry_after


class Unavailable(BridgeError):
    """A part of the bridge is down or not ready; a retry may succeed."""

    status = 503
    default_kind = "bridge_unavailable_exception"


class ClusterUnavailable(Unavailable):
    """No connection, a cut answer, or an answer that is not JSON."""


class ClusterError(BridgeError):
    """An error answer of the cluster: `status` and `body` go to the client as they came."""

    default_kind = "cluster_error"

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(reason_in(body) or f"the cluster answered {status}", kind=kind_in(body))
        self.cluster_status = status
        self.body = body


class EngineError(BridgeError):
    """A model could not be loaded or run."""

    default_kind = "engine_exception"


class RemoteServiceError(BridgeError):
    """The service behind a connector refused or did not answer; `remote_status` goes to the client."""

    default_kind = "status_exception"

    def __init__(self, reason: str, *, remote_status: int, kind: str | None = None, **details: Any) -> None:
        super().__init__(reason, kind=kind, **details)
        self.remote_status = remote_status


class ClaimLost(Conflict):
    """A stale holder's write was refused."""


def _error_object(body: Any) -> dict[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def kind_in(body: Any) -> str | None:
    """The `error.type` of an OpenSearch error body, if there is one."""
    kind = _error_object(body).get("type")
    return kind if isinstance(kind, str) else None


def reason_in(body: Any) -> str | None:
    """The `error.reason` of an OpenSearch error body, if there is one."""
    reason = _error_object(body).get("reason")
    return reason if isinstance(reason, str) else None


def status_of(error: BridgeError) -> int:
    """The HTTP status a client gets."""
    if isinstance(error, RemoteServiceError):
        return error.remote_status
    return error.cluster_status if isinstance(error, ClusterError) else error.status


def error_body(error: BridgeError) -> Any:
    """The JSON value a client gets: the cluster's own, or the OpenSearch error envelope."""
    if isinstance(error, ClusterError):
        return error.body
    cause = {"type": error.kind, "reason": error.reason, **error.details}
    # What a failure was caused by stands beside its root, not in it.
    root = {name: value for name, value in cause.items() if name != "caused_by"}
    return {"error": {"root_cause": [root], **cause}, "status": status_of(error)}
