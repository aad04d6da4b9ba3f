"""Scratch folders that survive a kill, and publishing what a stage made in one rename.

DVC deletes a stage's outputs before it runs the stage, so state to resume from lives outside them:
`.emblem/scratch/<stage>-<key>/`, where the key is a hash of everything that decides the result (parameters, inputs,
code). Another key is another folder: a changed parameter never resumes from stale state.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SCRATCH_ROOT = Path(os.environ.get("EMBLEM_SCRATCH", ".emblem/scratch"))
"""Where states to resume from are kept. The grid's workers, whose folders come and go, are given a lasting one."""
KEEP_SECONDS = 14 * 24 * 3600
"""Age at which another key's scratch folder is removed: a stage may die before DVC commits, so not at its end."""


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: Any) -> str:
    """sha256, in hex, of JSON-able parts and of the bytes of the files and folders among them (as Path)."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            listed = [(p.relative_to(part).as_posix() if part.is_dir() else p.name, file_digest(p)) for p in files]
            part = [entry for entry in listed if "__pycache__" not in entry[0]]
        total.update(json.dumps(part, sort_keys=True, default=str).encode())
        total.update(b"\0")
    return total.hexdigest()


def scratch_folder(stage: str, key: str, root: Path = SCRATCH_ROOT) -> Path:
    """The folder in which `stage` keeps its state for `key`, made where missing; very old ones are cleared away."""
    folder = root / f"{stage}-{key[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    for other in root.iterdir():
        if other != folder and other.is_dir() and now - other.stat().st_mtime > KEEP_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def publish(source: Path, target: Path) -> None:
    """Make the folder `target` hold a copy of the folder `source`, in one rename: never half of it.

    Files are hard-linked where the file system allows it, so that `source` stays to resume from at no cost.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=link_or_copy)
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, which costs nothing; copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def remove_partials(folders: Iterable[Path]) -> None:
    """Remove what a killed `publish` left beside `folders`."""
    for folder in folders:
        for partial in folder.parent.glob(f".{folder.name}.*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
