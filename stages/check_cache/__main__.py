"""Find and name what is missing or damaged in DVC's cache, or in a copy of it: a folder remote, a backup.

    python -m stages.check_cache              the cache of this repository
    python -m stages.check_cache /mnt/remote  a folder that was pushed to
    python -m stages.check_cache --remove     also remove what is damaged, so that `dvc pull` brings it anew

DVC trusts a file in its cache once it has seen it: a flipped byte goes unnoticed until a stage reads it. Here every
file that the workspace's dvc.lock names is read and its MD5 compared; what is wrong is named by its path there.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from stages.check_cache.checks import Fault, check_entries, remove_damaged
from stages.check_cache.entries import cached_outputs
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.progress import progress


@dataclass(frozen=True)
class Paths:
    """The command's folders."""

    repository: Path = Path()
    cache: Path | None = None
    """A folder laid out as DVC's cache; None is the repository's own."""


PATHS = Paths()


def check_cache(paths: Paths = PATHS) -> list[Fault]:
    """Every fault in a cache of what the workspace's dvc.lock names. Raises UserError outside a DVC repository."""
    cache = paths.cache or find_cache(paths.repository)
    checked = check_entries(cached_outputs(paths.repository), cache)
    return [fault for fault in progress(checked, "check", unit="file") if fault is not None]


def find_cache(repository: Path) -> Path:
    """A repository's cache. Raises UserError outside a DVC repository."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError("this is no DVC repository")
    return repository / done.stdout.strip()


@click.command(help=__doc__)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="remove damaged files, so that dvc pull brings them anew")
def main(folder: Path | None, remove: bool) -> None:
    """Check the cache."""

    @stage_main
    def run() -> None:
        faults = check_cache(Paths(cache=folder))
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
