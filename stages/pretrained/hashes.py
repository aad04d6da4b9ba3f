"""The hashes that files are held to: "sha256:<hex>", "md5:<hex>", or "git:<hex>" (the number that git gives a blob)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.common.errors import UserError

BLOCK = 1 << 20


def has_hash(path: Path, expected: str) -> bool:
    """Whether a file has a hash."""
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


def mismatch(path: Path, expected: str) -> str:
    """What is wrong with a file that has another hash, for an error's line."""
    kind, _, value = expected.partition(":")
    return f"{kind} is {hash_of(path, kind)[:12]}..., should be {value[:12]}..."


def hashes_by_part(hashes: Mapping[str, str], parts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`pretrained.hashes` by part: {"base/unet/x": h} -> {"base": {"unet/x": h}}. Raises UserError for another part."""
    by_part: dict[str, dict[str, str]] = {part: {} for part in parts}
    for path, value in hashes.items():
        part, _, rest = path.partition("/")
        if part not in by_part or not rest:
            allowed = ", ".join(f"{p}/" for p in by_part)
            raise UserError(f"pretrained.hashes: {path!r}: must begin with one of {allowed}")
        by_part[part][rest] = value
    return by_part


def pinned_hash(part: str, name: str, pinned: Mapping[str, str]) -> str:
    """The hash of a file that comes from a URL. Raises UserError where none is pinned."""
    if name not in pinned:
        raise UserError(f"pretrained.hashes has no {part}/{name}: what a URL gives is not used without a pinned hash")
    return pinned[name]
