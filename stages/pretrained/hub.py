"""A model hub's repositories at a pinned commit: what they hold, fetched by the hashes that the hub names.

They speak the Hugging Face hub's protocol, through huggingface_hub (HF_ENDPOINT and HF_TOKEN are its own variables).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, errors, hf_hub_url
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from stages.common.errors import UserError
from stages.common.files import write_file
from stages.pretrained.downloads import TIMEOUT, File, fetch, reason

DEFAULT_ENDPOINT = "https://huggingface.co"


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, else the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


def fetch_repository(
    repository: str,
    revision: str,
    folder: Path,
    wanted: Callable[[str], bool],
    needed: Mapping[str, re.Pattern[str]],
    pinned: Mapping[str, str],
) -> None:
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
        write_file(record, json.dumps([asdict(file) for file in files], indent=2))
    unknown = sorted(set(pinned) - {file.path for file in files})
    if unknown:
        raise UserError(f"pretrained.hashes: {unknown[0]!r} is no file that is taken from {repository}")
    for file in files:
        # The address of the hub is the present one, not the one that was recorded.
        url, said = file_url(repository, revision, file.path), pinned.get(file.path, file.hash)
        with explained(repository, revision, file.path):
            fetch(File(file.path, url, file.size, said), folder, dict(build_hf_headers()))


def list_repository(repository: str, revision: str, wanted: Callable[[str], bool]) -> list[File]:
    """The files of a repository at a commit that are `wanted`, with the hashes that the hub names.

    Raises UserError, in one line, where hub, repository or commit is out of reach, or the commit is another one.
    """
    with explained(repository, revision):
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


@contextmanager
def explained(repository: str, revision: str, path: str = "") -> Iterator[None]:
    """Turn what goes wrong between here and a hub into one line that says what to do."""
    file, page = f" ({path})" if path else "", f"{endpoint()}/{repository}"
    try:
        yield
    except errors.GatedRepoError:
        raise UserError(
            f"{repository} is gated: accept its terms at {page}, then set HF_TOKEN to a token that may read it"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repository} has no commit {revision} (pretrained.*_revision)") from None
    except errors.EntryNotFoundError:
        raise UserError(f"{repository} at {revision[:12]} has no file {path}") from None
    except errors.RepositoryNotFoundError:
        raise UserError(f"{page}: no such repository, or a private one that HF_TOKEN does not open") from None
    except errors.HfHubHTTPError as error:
        raise UserError(f"{page}{file}: the hub answers HTTP {error.response.status_code}") from None
    except (httpx2.TransportError, errors.OfflineModeIsEnabled) as error:
        raise UserError(f"{page}{file}: {reason(error)}; run again to go on from here") from None
