"""Find and name what is missing or damaged in DVC's cache, or in a copy of it: a folder remote, a backup.

    python -m stages.check_cache              the cache of this repository
    python -m stages.check_cache /mnt/remote  a folder that was pushed to
    python -m stages.check_cache --remove     also remove what is damaged, so that `dvc pull` brings it anew

DVC trusts a file in its cache once it has seen it: a flipped byte goes unnoticed until a stage reads it. Here every
file that the workspace's dvc.lock names is read and its MD5 compared; what is wrong is named by its path there.
"""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.progress import progress

BLOCK = 1 << 20


@dataclass(frozen=True, order=True)
class Entry:
    """A file that dvc.lock names: its path in the workspace and its MD5 (of a folder's listing: ending in .dir)."""

    path: str
    md5: str

    def file(self, cache: Path) -> Path:
        """Where the cache (or a folder remote) keeps it."""
        return cache / "files" / "md5" / self.md5[:2] / self.md5[2:]


@dataclass(frozen=True)
class Fault:
    """An entry that is "missing" or "damaged", and the file in the cache."""

    entry: Entry
    kind: str
    file: Path

    def __str__(self) -> str:
        return f"{self.kind}: {self.entry.path} ({self.file})"


def cached_outputs(repository: Path = Path()) -> list[Entry]:
    """Every output that dvc.lock and .dvc files give to the cache, those kept in git left out.

    Raises UserError outside a DVC repository.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(repository))
    except DvcException:
        raise UserError(f"{repository.absolute()}: this is no DVC repository") from None
    outs = [out for out in repo.index.outs if out.use_cache and out.hash_info.value]
    return sorted(Entry(Path(out.fs_path).relative_to(repo.root_dir).as_posix(), out.hash_info.value) for out in outs)


def check_cache(entries: Iterable[Entry], cache: Path) -> Iterator[Fault | None]:
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


def default_cache() -> Path:
    """This repository's cache. Raises UserError outside a DVC repository."""
    done = subprocess.run(["dvc", "cache", "dir"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError("this is no DVC repository")
    return Path(done.stdout.strip())


def find_faults(cache: Path, repository: Path = Path()) -> list[Fault]:
    """Every fault in a cache of what the workspace's dvc.lock names."""
    checked = check_cache(cached_outputs(repository), cache)
    return [fault for fault in progress(checked, "check", unit="file") if fault is not None]


@click.command(help=__doc__)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="remove damaged files, so that dvc pull brings them anew")
def main(folder: Path | None, remove: bool) -> None:
    """Check the cache."""

    @stage_main
    def run() -> None:
        faults = find_faults(folder or default_cache())
        for fault in faults:
            click.echo(str(fault))
        if remove:
            click.echo(f"{remove_damaged(faults)} damaged files removed: dvc pull brings them anew")
        if faults:
            raise UserError(f"{len(faults)} files of dvc.lock are missing or damaged")
        click.echo("every file that dvc.lock names is there and whole")

    run()


if __name__ == "__main__":
    main()
