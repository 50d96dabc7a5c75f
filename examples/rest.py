"""As much of an HTTP client as the demo needs; any client will do (curl, opensearch-py)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any


class RestError(RuntimeError):
    """An answer of 400 or above; the text is the server's."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path} answered {status}: {body[:500]}")
        self.status = status


class Rest:
    """JSON over HTTP against one base URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Not through a proxy from the environment: everything here is on this machine or the user's own cluster.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, body: object) -> Any:
        return self._call("POST", path, json.dumps(body).encode())

    def put(self, path: str, body: object) -> Any:
        return self._call("PUT", path, json.dumps(body).encode())

    def delete(self, path: str, *, missing_ok: bool = False) -> Any:
        try:
            return self._call("DELETE", path)
        except RestError as refused:
            if missing_ok and refused.status == 404:
                return None
            raise

    def bulk(self, index: str, documents: list[dict[str, Any]]) -> None:
        """Index the documents. Raises RestError with the first failed item's reason."""
        lines = [line for document in documents for line in ('{"index":{}}', json.dumps(document))]
        answer = self._call("POST", f"/{index}/_bulk", ("\n".join(lines) + "\n").encode(), "application/x-ndjson")
        failed = [item["index"] for item in answer["items"] if item["index"]["status"] >= 300]
        if failed:
            raise RestError("POST", f"/{index}/_bulk", failed[0]["status"], json.dumps(failed[0].get("error")))

    def answers(self, path: str) -> bool:
        """True when a GET of that path is answered with success."""
        try:
            self._call("GET", path)
        except (OSError, RestError, ValueError):
            return False
        return True

    def _call(self, method: str, path: str, data: bytes | None = None, kind: str = "application/json") -> Any:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind}, method=method)
        try:
            with self._opener.open(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                raise RestError(method, path, refused.code, refused.read().decode(errors="replace")) from None
