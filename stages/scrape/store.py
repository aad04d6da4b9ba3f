"""What was fetched, kept on disk, so that a killed crawl resumes without asking twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from stages.common.files import write_file

Kind = Literal["page", "picture", "robots", "sitemap"]
"""What is asked for, which decides how much of it may come and which rules hold."""


@dataclass(frozen=True)
class Fetched:
    """What came of one address: a body, or one reason why not."""

    url: str
    final_url: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    robots: Literal["allowed", "disallowed", "noai"] = "allowed"
    error: str | None = None
    size: int = 0
    """Bytes that came from the network for it, redirects, failed tries and bodies that are not kept included."""

    @property
    def content_type(self) -> str:
        """The media type alone, lower-case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


class Store:
    """Fetched things on disk: a record an address, bodies by their sha256.

    Every write is atomic but not durable: after a power cut, what does not fit its hash is fetched again.
    """

    def __init__(self, folder: Path) -> None:
        self.records, self.bodies = folder / "records", folder / "bodies"
        for made in (self.records, self.bodies):
            made.mkdir(parents=True, exist_ok=True)

    def get(self, url: str) -> Fetched | None:
        """What is known of `url`; None where nothing is, or where a crash left a record without its whole body."""
        try:
            record = json.loads(self._record(url).read_bytes())
            sha256 = record.pop("sha256")
            body = self.body_path(sha256).read_bytes()
        except (FileNotFoundError, ValueError, KeyError):
            return None
        if hashlib.sha256(body).hexdigest() != sha256:
            return None
        return Fetched(body=body, **record)

    def put(self, fetched: Fetched) -> None:
        """Remember what came of an address."""
        sha256 = hashlib.sha256(fetched.body).hexdigest()
        if not self.body_path(sha256).exists():
            write_file(self.body_path(sha256), fetched.body, durable=False)
        record = asdict(fetched) | {"sha256": sha256}
        del record["body"]
        write_file(self._record(fetched.url), json.dumps(record), durable=False)

    def forget_failures(self) -> None:
        """Forget what was not fetched well, so that the next run asks again."""
        for path in self.records.iterdir():
            try:
                failed = json.loads(path.read_bytes()).get("status") != 200
            except ValueError:
                failed = True
            if failed:
                path.unlink()

    def forget(self) -> None:
        """Forget all, so that the next run asks again."""
        for path in self.records.iterdir():
            path.unlink()

    def body_path(self, sha256: str) -> Path:
        """Where the body with this hash lies."""
        return self.bodies / sha256

    def _record(self, url: str) -> Path:
        return self.records / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
