"""Weights from elsewhere: a model hub's repositories at a pinned commit, and single files by URL and hash.

Repositories speak the Hugging Face hub's protocol, through huggingface_hub (HF_ENDPOINT and HF_TOKEN are its own
variables). The bytes are transferred here, since huggingface_hub 2.4 throws a part away when its process ends: here it
is kept as `<file>.partial` and continued by a Range request. Pickles are never fetched from a repository; what a URL
gives is checked against a pinned hash before anything opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.progress import progress

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

BLOCK = 1 << 20
QUIET = 8 << 20
"""Bytes up to which a file is fetched without a progress bar."""
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before the second, third and fourth try; a try that brought new bytes starts the count again."""
TIMEOUT = 30.0
"""Seconds without a byte after which a try counts as failed."""
DEFAULT_ENDPOINT = "https://huggingface.co"

WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors")
"""A component's weights in their full precision: no variant (fp16, non_ema), no pickle."""
TEXTS = re.compile(r"[\w.-]+\.(json|txt)")
BASE_FOLDERS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
BASE_WEIGHTS = ("text_encoder", "unet", "vae")


@dataclass(frozen=True)
class File:
    """A file to fetch: its path below the part's folder, where it is, how large it is and its hash.

    `hash` is "sha256:<hex>", "md5:<hex>" or "git:<hex>" (the object number that git gives a file's content).
    """

    path: str
    url: str
    size: int | None
    hash: str


# --- What a repository holds ---------------------------------------------------------------------------------------


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, else the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


def go_online() -> None:
    """Allow this process the hub, which `stage_main` keeps stages off. Must come before huggingface_hub's import."""
    os.environ["HF_HUB_OFFLINE"] = "0"


def of_base(path: str) -> bool:
    """Whether a file of a repository in Stable Diffusion's layout is needed: no checker, no variant, no pickle."""
    folder, _, name = path.rpartition("/")
    if folder == "":
        return name == "model_index.json"
    return folder in BASE_FOLDERS and bool(WEIGHTS.fullmatch(name) or TEXTS.fullmatch(name))


def of_clip(path: str) -> bool:
    """Whether a file of a CLIP's repository is needed."""
    return "/" not in path and bool(WEIGHTS.fullmatch(path) or TEXTS.fullmatch(path))


def list_repository(repository: str, revision: str, wanted: Callable[[str], bool]) -> list[File]:
    """The files of a repository at a commit that are `wanted`, with the hashes that the hub names.

    Raises UserError, in one line, where hub, repository or commit is out of reach, or the commit is another one.
    """
    from huggingface_hub import HfApi

    with _explained(repository, revision):
        info = HfApi(endpoint=endpoint()).model_info(
            repository, revision=revision, files_metadata=True, timeout=TIMEOUT
        )
    if info.sha != revision:
        raise UserError(f"{repository}: the hub answers for commit {info.sha}, pinned is {revision}")
    return [
        File(
            sibling.rfilename,
            file_url(repository, revision, sibling.rfilename),
            sibling.size,
            _named_hash(repository, sibling),
        )
        for sibling in sorted(info.siblings or [], key=lambda s: s.rfilename)
        if wanted(sibling.rfilename)
    ]


def file_url(repository: str, revision: str, path: str) -> str:
    """Where the hub serves a file of a repository at a commit."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, path, revision=revision, endpoint=endpoint())


def _named_hash(repository: str, sibling: RepoSibling) -> str:
    if sibling.lfs is not None:
        return f"sha256:{sibling.lfs.sha256}"
    if not sibling.blob_id:
        raise UserError(f"{repository}: the hub names no hash of {sibling.rfilename}")
    return f"git:{sibling.blob_id}"


def require(repository: str, revision: str, files: list[File], needed: Mapping[str, re.Pattern[str]]) -> None:
    """Check that a listing has a file for each need, by name: a pattern. Raises UserError naming the missing one."""
    for name, pattern in needed.items():
        if not any(pattern.fullmatch(file.path) for file in files):
            raise UserError(f"{repository} at {revision[:12]} has no {name}")


# --- Fetching ------------------------------------------------------------------------------------------------------


def fetch_repository(
    repository: str, revision: str, folder: Path, wanted: Callable[[str], bool], needed: Mapping[str, re.Pattern[str]],
    pinned: Mapping[str, str],
) -> None:  # fmt: skip
    """Fetch what is `wanted` of a repository at a commit into `folder`; what is there and right is not fetched again.

    The listing is kept beside the folder: where everything is there, nothing is asked of the hub.

    Args:
        needed: what must be among it, by name: a pattern of paths.
        pinned: hashes by path that must hold whatever the hub says.
    """
    record = folder.with_name(f"{folder.name}.listing.json")
    if record.exists():
        files = [File(**row) for row in json.loads(record.read_text(encoding="utf-8"))]
    else:
        files = list_repository(repository, revision, wanted)
        require(repository, revision, files, needed)
        write_file(record, json.dumps([asdict(file) for file in files], indent=2).encode())
    unknown = sorted(set(pinned) - {file.path for file in files})
    if unknown:
        raise UserError(f"pretrained.hashes: {unknown[0]!r} is no file that is taken from {repository}")
    for file in files:
        # The address of the hub is the present one, not the one that was recorded.
        url, said = file_url(repository, revision, file.path), pinned.get(file.path, file.hash)
        with _explained(repository, revision, file.path):
            fetch(File(file.path, url, file.size, said), folder, _hub_headers())


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
    _transfer(file, partial, dict(headers or {}))
    if not has_hash(partial, file.hash):
        found = hash_of(partial, file.hash.partition(":")[0])
        partial.unlink()
        kind, _, expected = file.hash.partition(":")
        raise UserError(
            f"{file.url}: {kind} is {found[:12]}..., should be {expected[:12]}...: not the file that is pinned"
        )
    partial.replace(target)
    return target


def has_hash(path: Path, expected: str) -> bool:
    """Whether a file has a hash as `File.hash` writes it."""
    kind, _, value = expected.partition(":")
    return hash_of(path, kind) == value


def hash_of(path: Path, kind: str) -> str:
    """A file's "sha256", "md5" or "git" (sha1 of a header and the content) in hex."""
    if kind == "git":
        total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        total = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def _transfer(file: File, partial: Path, headers: dict[str, str]) -> None:
    """Append to `partial` until the server has sent everything."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

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
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    asked = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={had}-"} if had else {})}
    with get_session().stream("GET", file.url, headers=asked, timeout=TIMEOUT, follow_redirects=True) as response:
        if response.status_code == 416:  # a part longer than the file
            partial.unlink()
            return _request(file, partial, 0, headers)
        hf_raise_for_status(response)
        continued = response.status_code == 206
        length = int(response.headers.get("Content-Length", 0))
        name = f"fetch {file.path}" + (f" from {had >> 20} MiB" if continued else "")
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


def _hub_headers() -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    return dict(build_hf_headers())


class _explained:
    """Turns what goes wrong between here and a hub into one line that says what to do."""

    def __init__(self, repository: str, revision: str, path: str = "") -> None:
        self.repository, self.revision, self.path = repository, revision, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        import httpx2
        from huggingface_hub import errors

        name, file = self.repository, f" ({self.path})" if self.path else ""
        page = f"{endpoint()}/{name}"
        if isinstance(error, errors.GatedRepoError):
            raise UserError(
                f"{name} is gated: accept its terms at {page}, then set HF_TOKEN to a token that may read it"
            ) from None
        if isinstance(error, errors.RevisionNotFoundError):
            raise UserError(f"{name} has no commit {self.revision} (pretrained.base_revision, clip_revision)") from None
        if isinstance(error, errors.EntryNotFoundError):
            raise UserError(f"{name} at {self.revision[:12]} has no file {self.path}") from None
        if isinstance(error, errors.RepositoryNotFoundError):
            raise UserError(f"{page}: no such repository, or a private one that HF_TOKEN does not open") from None
        if isinstance(error, errors.HfHubHTTPError):
            raise UserError(f"{page}{file}: the hub answers HTTP {error.response.status_code}") from None
        if isinstance(error, httpx2.TransportError | errors.OfflineModeIsEnabled):
            raise UserError(f"{page}{file}: {_reason(error)}; run again to go on from here") from None


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def fetch_url(url: str, expected: str, folder: Path) -> Path:
    """Fetch a file by its address and pinned hash, under its own name. Raises UserError as `fetch` does."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return fetch(File(url.rsplit("/", 1)[1], url, None, expected), folder)
    except HfHubHTTPError as error:
        raise UserError(f"{url}: HTTP {error.response.status_code}") from None
    except httpx2.TransportError as error:
        raise UserError(f"{url}: {_reason(error)}; run again to go on from here") from None


def fetch_archive_member(url: str, member: str, expected: str, folder: Path) -> Path:
    """Fetch a zip archive and take the one member with the pinned hash out of it; the archive itself is not kept.

    Raises UserError where the archive has no such member, or the member has another hash.
    """
    import shutil
    import zipfile

    target = folder / member
    if target.is_file() and has_hash(target, expected):
        return target
    archive = _fetch_unchecked(url, folder)
    partial = target.with_name(f"{member}.partial")
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    except (KeyError, zipfile.BadZipFile, EOFError):
        archive.unlink()
        raise UserError(f"{url}: no zip archive with {member} in it") from None
    archive.unlink()
    if not has_hash(partial, expected):
        kind, _, value = expected.partition(":")
        found = hash_of(partial, kind)
        partial.unlink()
        raise UserError(
            f"{url}: {member}: {kind} is {found[:12]}..., should be {value[:12]}...: not the file that is pinned"
        )
    partial.replace(target)
    return target


def _fetch_unchecked(url: str, folder: Path) -> Path:
    """Fetch an archive; nothing of it is used before the hash of the member taken from it has been checked."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[1]
    partial = folder / f"{name}.partial"
    try:
        _transfer(File(name, url, None, ""), partial, {})
    except HfHubHTTPError as error:
        raise UserError(f"{url}: HTTP {error.response.status_code}") from None
    except httpx2.TransportError as error:
        raise UserError(f"{url}: {_reason(error)}; run again to go on from here") from None
    archive = folder / name
    partial.replace(archive)
    return archive
