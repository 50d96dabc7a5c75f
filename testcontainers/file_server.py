"""A loopback HTTP server for model files, so that a model can be registered by URL without a network."""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote


class FileServer:
    """Serves the files and bytes it is given, each under its name; everything else is a 404.

    `hits` counts the requests for each name.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._served: dict[str, Path | bytes] = {}
        self.hits: dict[str, int] = {}
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def serve(self, file: Path, name: str = "") -> str:
        """Offer a file; gives its URL."""
        return self._offer(name or file.name, file)

    def serve_bytes(self, name: str, content: bytes) -> str:
        """Offer content from memory; gives its URL."""
        return self._offer(name, content)

    def url(self, name: str) -> str:
        """The URL of a name, offered or not."""
        return f"http://127.0.0.1:{self.port}/{quote(name)}"

    def _offer(self, name: str, content: Path | bytes) -> str:
        self._served[name] = content
        return self.url(name)

    def _open(self, name: str) -> tuple[BinaryIO, int] | None:
        content = self._served.get(name)
        if content is None:
            return None
        self.hits[name] = self.hits.get(name, 0) + 1
        if isinstance(content, bytes):
            return BytesIO(content), len(content)
        return content.open("rb"), content.stat().st_size

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        files = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = files._open(unquote(self.path.partition("?")[0].lstrip("/")))
                if found is None:
                    self.send_error(404)
                    return
                opened, size = found
                with opened:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/octet-stream")
                    self.send_header("Content-Length", str(size))
                    self.end_headers()
                    try:
                        shutil.copyfileobj(opened, self.wfile, 256 * 1024)
                    except (BrokenPipeError, ConnectionResetError):
                        self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Keep test output clean."""

        return Handler

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
