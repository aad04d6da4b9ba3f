"""Whether the files of a cache are there and whole: each is read and its MD5 compared."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.check_cache.entries import Entry

BLOCK = 1 << 20
"""Bytes read at once: a checkpoint of gigabytes is never in memory whole."""


@dataclass(frozen=True)
class Fault:
    """An entry that is "missing" or "damaged", and the file in the cache."""

    entry: Entry
    kind: str
    file: Path

    def __str__(self) -> str:
        return f"{self.kind}: {self.entry.path} ({self.file})"


def check_entries(entries: Iterable[Entry], cache: Path) -> Iterator[Fault | None]:
    """Check every file of the entries, and of the folders among them; yields None for a good one, a Fault for another.

    Args:
        cache: .dvc/cache, or a folder remote.
    """
    for entry in entries:
        fault = check_entry(entry, cache)
        yield fault
        if entry.md5.endswith(".dir") and fault is None:
            for row in json.loads(entry.file(cache).read_text(encoding="utf-8")):
                yield check_entry(Entry(f"{entry.path}/{row['relpath']}", row["md5"]), cache)


def check_entry(entry: Entry, cache: Path) -> Fault | None:
    """Read one file of the cache and compare its MD5."""
    file = entry.file(cache)
    if not file.is_file():
        return Fault(entry, "missing", file)
    total = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            total.update(block)
    return None if total.hexdigest() == entry.md5.removesuffix(".dir") else Fault(entry, "damaged", file)


def remove_damaged(faults: Iterable[Fault]) -> int:
    """Remove damaged files from the cache, read-only as they are; returns how many."""
    damaged = {fault.file for fault in faults if fault.kind == "damaged"}
    for file in damaged:
        file.chmod(file.stat().st_mode | stat.S_IWUSR)
        file.unlink()
    return len(damaged)
