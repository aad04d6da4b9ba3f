"""The one way in which files are written: beside the target, then put into its place.

After a crash or on a full disk a file holds its old bytes or all of the new ones, never a part. And the new file is a
file of its own: where DVC has linked the old one to its cache, the cache keeps what it has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial"
"""Ends the names of files that are still being written; git and DVC ignore them."""


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file whose content takes the place of `path` where the block ends without an error.

    Args:
        durable: the content is on the disk before the name points to it; not needed for what is made again after a
            crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file, text as UTF-8 with the line ends that it has."""
    with replacing(path, durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file for people and `dvc metrics diff`: indented, one final newline, no NaN."""
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
