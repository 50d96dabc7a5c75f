"""Answers that the front writes itself, in the envelope of the cluster, and heads of answers that it passes on."""

from __future__ import annotations

import json
from http import HTTPStatus

from bridge.proxy.front.connection import Failure, ResponseHead
from bridge.proxy.front.heads import BadRequest, RequestHead

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What a cluster answers to a body above `http.max_content_length`: no body.
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_NOT_READY = json.dumps(
    {"live": True, "ready": False, "reasons": ["the application process does not answer"]}, separators=(",", ":")
).encode()

_CLUSTER_FAILURES = {
    Failure.OPEN: (503, "cluster_unavailable_exception", "no node of the cluster answers"),
    Failure.REFUSED: (502, "bad_gateway_exception", "no connection to the cluster"),
    Failure.CONNECT_TIMEOUT: (504, "gateway_timeout_exception", "no connection to the cluster in time"),
    Failure.RESET: (502, "bad_gateway_exception", "the cluster closed the connection without an answer"),
    Failure.CUT: (502, "bad_gateway_exception", "the cluster's answer was cut off"),
    Failure.MALFORMED: (502, "bad_gateway_exception", "the cluster's answer is not HTTP"),
    Failure.TIMEOUT: (504, "gateway_timeout_exception", "no answer from the cluster in time"),
}
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def error(status: int, kind: str, reason: str, *, close: bool, head_only: bool = False, retry: bool = False) -> bytes:
    """A whole answer `{"error":{root_cause,type,reason},"status"}`; `retry` adds `Retry-After: 1`."""
    cause = {"type": kind, "reason": reason}
    body = json.dumps({"error": {"root_cause": [cause], **cause}, "status": status}, separators=(",", ":")).encode()
    return _json(status, body, close=close, head_only=head_only, retry=retry)


def refused(refusal: BadRequest) -> bytes:
    """The answer to a request that was not understood; the connection ends with it."""
    return error(refusal.status, refusal.kind, refusal.reason, close=True)


def unreachable(failure: Failure, *, close: bool, head_only: bool) -> bytes:
    """502, 503 or 504: the cluster did not answer."""
    status, kind, reason = _CLUSTER_FAILURES[failure]
    return error(status, kind, reason, close=close, head_only=head_only, retry=status == 503)


def application_gone(*, close: bool, head_only: bool) -> bytes:
    """503: the request needs the application, which does not answer; searches without it go on."""
    reason = "the bridge's application process does not answer"
    return error(503, "bridge_unavailable_exception", reason, close=close, head_only=head_only, retry=True)


def not_ready(*, close: bool, head_only: bool) -> bytes:
    """The front's own answer to `/_bridge/health`."""
    return _json(503, _NOT_READY, close=close, head_only=head_only, retry=True)


def _json(status: int, body: bytes, *, close: bool, head_only: bool, retry: bool) -> bytes:
    lines = [
        b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b"Error")),
        b"content-type: application/json; charset=UTF-8",
        b"content-length: %d" % len(body),
    ]
    if retry:
        lines.append(b"retry-after: 1")
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head_only else body)


def response_head(response: ResponseHead, *, minor: int, keep: bool, framed: bool) -> bytes:
    """The head to pass on. `framed`: the body is sent in chunks, which a client of HTTP/1.0 can't read."""
    usual = keep and minor == 1 and not framed
    if usual and response.built:
        return response.built[0]
    lines = [b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason)]
    if response.chunked and not framed and minor == 0:
        lines += [b"%b: %b\r\n" % pair for pair in response.headers if pair[0].lower() != b"transfer-encoding"]
    else:
        lines += [b"%b: %b\r\n" % pair for pair in response.headers]
    if framed and not response.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if not keep:
        lines.append(b"connection: close\r\n")
    elif minor == 0:
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    data = b"".join(lines)
    if usual:
        response.built.append(data)
    return data


def request_head(head: RequestHead, host: bytes, extra: bytes) -> bytes:
    """The head for the cluster. `host` replaces the client's (a managed cluster picks the tenant by it); empty: the
    client's stays. `extra` are whole header lines, for the application: it gets the path as the cluster's router reads
    it, without slashes at its end."""
    if not extra:
        found = head.built.get(host)
        if found is not None:
            return found
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, _without_last_slash(head) if extra else head.target)]
    if host and head.host_at < 0:
        lines.append(b"Host: %b\r\n" % host)
    lines += [b"%b: %b\r\n" % pair for pair in head.headers]
    if host and head.host_at >= 0:
        lines[head.host_at + 1] = b"%b: %b\r\n" % (head.headers[head.host_at][0], host)
    lines.append(extra)
    lines.append(b"\r\n")
    data = b"".join(lines)
    if not extra:
        head.built[host] = data
    return data


def _without_last_slash(head: RequestHead) -> bytes:
    if len(head.path) < 2 or not head.path.endswith(b"/"):
        return head.target
    path = head.path.rstrip(b"/") or b"/"
    return path + head.target[len(head.path) :]
