"""The demo shop on loopback, so that crawling it is a real crawl over http."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

STOREFRONT = Path("demo/storefront")
ORIGIN = "http://storefront.invalid"
"""Stands in the sitemap and robots.txt until `serve` knows the real origin."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Static files without logging, listings of folders or the truth; the sitemap gets the real origin."""

    protocol_version = "HTTP/1.1"
    extensions_map: ClassVar[dict[str, str]] = {  # type: ignore[misc]
        ".html": "text/html; charset=utf-8",
        ".jpg": "image/jpeg",
        ".xml": "application/xml",
        ".txt": "text/plain; charset=utf-8",
        "": "application/octet-stream",
    }

    def send_head(self) -> Any:
        path = Path(self.translate_path(self.path))
        if path.name == "truth.json":
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        if path.suffix not in (".xml", ".txt") or not path.is_file():
            return super().send_head()
        host, port = self.connection.getsockname()
        content = path.read_bytes().replace(ORIGIN.encode(), f"http://{host}:{port}".encode())
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """A crawl's thousand requests are not worth a thousand lines."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def serve(directory: Path | str = STOREFRONT, port: int = 0) -> Iterator[str]:
    """Serve a built storefront on loopback; yields its origin, such as http://127.0.0.1:8000.

    port: 0 takes a free one.
    """
    with _Server(("127.0.0.1", port), partial(_Handler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
