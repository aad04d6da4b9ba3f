"""A small real HTTP server for tests: pages from a dictionary, a log of what was asked for, and a few bad manners."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


@dataclass
class Answer:
    """What the server says to one address."""

    body: bytes | str = b""
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0
    """Seconds between single bytes of the body."""
    claimed_length: int | None = None


Route = Answer | Callable[[int], Answer]
"""An answer, or a function of how often the address was asked before."""


@dataclass
class Shop:
    """Pages by address (path with query). `fallback` answers what is not among them."""

    pages: dict[str, Route] = field(default_factory=dict)
    fallback: Callable[[str], Answer | None] = lambda path: None
    asked: list[str] = field(default_factory=list)
    origin: str = ""
    least_gap: dict[str, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    delay: float = 0.0

    def counts(self) -> Counter[str]:
        return Counter(self.asked)


def page(body: str, head: str = "", language: str = "en") -> Answer:
    return Answer(
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">{head}</head><body>{body}</body></html>'
    )


def picture(number: int, width: int = 240, height: int = 320, kind: str = "JPEG") -> bytes:
    """A picture that is unlike every picture of another number."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=80)
    return buffer.getvalue()


def thumbnail(content: bytes, width: int) -> bytes:
    image = Image.open(io.BytesIO(content))
    buffer = io.BytesIO()
    image.resize((width, round(width * image.height / image.width)), Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=75
    )
    return buffer.getvalue()


def jpeg(content: bytes) -> Answer:
    return Answer(content, "image/jpeg")


@contextmanager
def serving(shop: Shop, port: int = 0) -> Iterator[str]:
    """Serve the shop on loopback; yields its origin."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            shop.times.append(time.monotonic())
            before = shop.asked.count(self.path)
            shop.asked.append(self.path)
            if shop.delay:
                time.sleep(shop.delay)
            route = shop.pages.get(self.path) or shop.fallback(self.path) or Answer("not here", status=404)
            answer = route(before) if callable(route) else route
            body = answer.body.replace("ORIGIN", shop.origin).encode() if isinstance(answer.body, str) else answer.body
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            length = len(body) if answer.claimed_length is None else answer.claimed_length
            self.send_header("Content-Length", str(length))
            for name, value in answer.headers.items():
                self.send_header(name, value.replace("ORIGIN", shop.origin))
            self.end_headers()
            try:
                if answer.drip:
                    for i in range(len(body)):
                        self.wfile.write(body[i : i + 1])
                        self.wfile.flush()
                        time.sleep(answer.drip)
                else:
                    self.wfile.write(body)
            except OSError:
                pass
            if answer.claimed_length is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: object, client_address: object) -> None:
            """A crawler that hangs up is no news."""

    with Server(("127.0.0.1", port), Handler) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shop.origin = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield shop.origin
        finally:
            server.shutdown()
            thread.join()
