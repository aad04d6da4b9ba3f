"""A model hub on loopback that speaks the Hugging Face hub's protocol, and misbehaves on request.

Revision listings with blob numbers and LFS hashes, `resolve` addresses that redirect large files to another path (as
the hub does to its storage), Range requests, and the hub's own error headers.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """What the server holds and how it misbehaves; `requests` is what was asked of it."""

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: dict[str, int] = field(default_factory=dict)
    """File name: bytes after which the connection breaks, each time it is asked for."""
    broken: set[str] = field(default_factory=set)
    """File names that are answered with HTTP 503."""
    altered: set[str] = field(default_factory=set)
    """File names whose bytes are not those that the listing names."""
    answers_for: str = ""
    """Another commit than the one asked for, for which the listing is answered."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""

    def add(self, name: str, commit: str, folder: Path) -> None:
        content = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repositories.setdefault(name, {})[commit] = content

    def fetched(self) -> list[str]:
        """Names of the files whose bytes were asked for, each time."""
        return [
            path.rsplit("/", 1)[1] for path, _ in self.requests if "/resolve/" in path or path.startswith("/files/")
        ]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve until the block ends; `hub.address` is the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((path, self.headers.get("Range", "")))
            parts = path.strip("/").split("/")
            if parts[0] == "files":
                self.give(hub.files.get(parts[1]), parts[1])
            elif parts[0] == "storage":
                commits = [files for repository in hub.repositories.values() for files in repository.values()]
                content = next(c for files in commits for c in files.values() if sha256(c) == parts[1])
                self.give(content, parts[2])
            elif parts[:2] == ["api", "models"] and len(parts) == 6 and parts[4] == "revision":
                self.listing("/".join(parts[2:4]), parts[5])
            elif len(parts) > 4 and parts[2] == "resolve":
                self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self.fail(404, "")

        def files(self, name: str, commit: str) -> dict[str, bytes] | None:
            if name not in hub.repositories:
                self.fail(404, "RepoNotFound")
            elif name in hub.gated and self.headers.get("Authorization") != "Bearer may-read":
                self.fail(401 if "Authorization" not in self.headers else 403, "GatedRepo")
            elif commit not in hub.repositories[name]:
                self.fail(404, "RevisionNotFound")
            else:
                return hub.repositories[name][commit]
            return None

        def listing(self, name: str, commit: str) -> None:
            files = self.files(name, commit)
            if files is None:
                return
            siblings = []
            for path, content in files.items():
                row: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git_blob(content)}
                if path.endswith((".safetensors", ".bin", ".pt")):
                    row["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
                siblings.append(row)
            body = json.dumps({"id": name, "sha": hub.answers_for or commit, "siblings": siblings}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def resolve(self, name: str, commit: str, path: str) -> None:
            files = self.files(name, commit)
            if files is None:
                return
            if path not in files:
                self.fail(404, "EntryNotFound")
            elif path.endswith((".safetensors", ".bin", ".pt")):
                self.send_response(302)
                self.send_header("X-Repo-Commit", commit)
                self.send_header("X-Linked-Etag", f'"{sha256(files[path])}"')
                self.send_header("Location", f"{hub.address}/storage/{sha256(files[path])}/{path.rsplit('/', 1)[-1]}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.give(files[path], path.rsplit("/", 1)[-1])

        def give(self, content: bytes | None, name: str) -> None:
            if content is None:
                return self.fail(404, "EntryNotFound")
            if name in hub.broken:
                return self.fail(503, "")
            if name in hub.altered:
                content = content[:-1] + bytes([content[-1] ^ 1])
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if start >= len(content) > 0:
                return self.fail(416, "")
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + hub.cut_after[name] if name in hub.cut_after else len(content)
            if self.command == "GET":
                self.wfile.write(content[start:end])
            if end < len(content):
                self.wfile.flush()
                self.close_connection = True
            return None

        def fail(self, status: int, code: str) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
