"""Single files over HTTP: held to their hashes, and continued where a killed run or a broken connection left them.

The bytes are transferred here, since huggingface_hub 2.4 throws a part away when its process ends: here it is kept as
`<file>.partial` and continued by a Range request.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

from stages.common.errors import UserError
from stages.common.files import replacing
from stages.common.progress import progress
from stages.pretrained.hashes import BLOCK, has_hash, mismatch

QUIET = 8 << 20
"""Bytes up to which a file is fetched without a progress bar: about a second's worth. Chosen by hand."""
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before the second, third and fourth try, as servers that throttle ask for; chosen by hand. A try that brought
new bytes starts the count again."""
TIMEOUT = 30.0
"""Seconds without a byte after which a try counts as failed; chosen by hand."""


@dataclass(frozen=True)
class File:
    """A file to fetch: its path below the part's folder, where it is, how large it is and its hash."""

    path: str
    url: str
    size: int | None
    hash: str


def fetch(file: File, folder: Path, headers: Mapping[str, str] | None = None) -> Path:
    """Fetch a file unless it is there with the right hash, continuing a part that a killed run left.

    Raises UserError where the bytes have another hash (they are removed), or the server fails again and again (the part
    is kept).
    """
    target = folder / file.path
    if target.is_file() and has_hash(target, file.hash):
        return target
    partial = target.with_name(f"{target.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    transfer(file, partial, dict(headers or {}))
    if not has_hash(partial, file.hash):
        found = mismatch(partial, file.hash)
        partial.unlink()
        raise UserError(f"{file.url}: {found}: not the file that is pinned")
    partial.replace(target)
    return target


def fetch_url(url: str, expected: str, folder: Path) -> Path:
    """Fetch a file by its address and pinned hash, under its own name. Raises UserError as `fetch` does."""
    with explained(url):
        return fetch(File(url.rsplit("/", 1)[1], url, None, expected), folder)


def fetch_archive_member(url: str, member: str, expected: str, folder: Path) -> Path:
    """Fetch a zip archive and take the one member with the pinned hash out of it; the archive itself is not kept.

    Nothing of the archive is used before the member's hash has been checked. Raises UserError where the archive has no
    such member, or the member has another hash.
    """
    target = folder / member
    if target.is_file() and has_hash(target, expected):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[1]
    archive = folder / f"{name}.partial"
    with explained(url):
        transfer(File(name, url, None, ""), archive, {})
    try:
        with (
            zipfile.ZipFile(archive) as opened,
            opened.open(member) as source,
            replacing(target, durable=False) as copy,
        ):
            shutil.copyfileobj(source, copy)
    except (KeyError, zipfile.BadZipFile, EOFError):
        raise UserError(f"{url}: no zip archive with {member} in it") from None
    finally:
        archive.unlink()
    if not has_hash(target, expected):
        found = mismatch(target, expected)
        target.unlink()
        raise UserError(f"{url}: {member}: {found}: not the file that is pinned")
    return target


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what goes wrong between here and a server into one line."""
    try:
        yield
    except HfHubHTTPError as error:
        raise UserError(f"{url}: HTTP {error.response.status_code}") from None
    except httpx2.TransportError as error:
        raise UserError(f"{url}: {reason(error)}; run again to go on from here") from None


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def transfer(file: File, partial: Path, headers: dict[str, str]) -> None:
    """Append to `partial` until the server has sent everything. Raises what the last of the tries raised."""
    failures = 0
    while True:
        had = partial.stat().st_size if partial.exists() else 0
        if file.size is not None and had == file.size:
            return
        try:
            _request(file, partial, had, headers)
            return
        except (httpx2.TransportError, HfHubHTTPError) as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code < 500 and response.status_code not in (408, 429):
                raise
            failures = 0 if partial.exists() and partial.stat().st_size > had else failures + 1
            if failures > len(PAUSES):
                raise
            time.sleep(PAUSES[failures - 1] if failures else 0)


def _request(file: File, partial: Path, had: int, headers: dict[str, str]) -> None:
    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    with get_session().stream("GET", file.url, headers=asked, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416:  # a part longer than the file
            partial.unlink()
            return _request(file, partial, 0, headers)
        hf_raise_for_status(response)
        continued = response.status_code == 206
        length = int(response.headers.get("Content-Length", 0))
        name = f"fetch {file.path}" + (f" from {had >> 20} MiB" if continued else "")
        # A part is written in place, so that a killed run leaves it; its hash is checked before it is used.
        with partial.open("ab" if continued else "wb") as opened:
            written = _write(response.iter_raw(), opened)
            for _ in progress(written, name, total=length // BLOCK, unit="MiB") if length > QUIET else written:
                pass
    return None


def _write(chunks: Iterator[bytes], opened: BinaryIO) -> Iterator[None]:
    """Write chunks as they come, unbuffered so that a kill loses none, and yield once for each mebibyte."""
    bytes_written = 0
    for chunk in chunks:
        opened.write(chunk)
        opened.flush()
        before, bytes_written = bytes_written, bytes_written + len(chunk)
        yield from [None] * (bytes_written // BLOCK - before // BLOCK)
