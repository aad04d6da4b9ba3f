"""A clone of the user's repository in which another brand is taught: HEAD, the brand's shop, its overlay on the params.

It lies in .emblem/brands/<name> and stays there: a run that was stopped goes on in it, and where HEAD has moved on,
what has changed is all that runs again. DVC's cache is the repository's own: what both have in common is made once.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.grid.workspace import cache_of
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.revisions import find_commit, git, read_at

CLONES = Path(".emblem/brands")
PREPARED = Path(".git/emblem-brand")
"""Of a clone: the commit for which the brand's shop and overlay were put in place."""


@dataclass(frozen=True)
class Clone:
    """Where a brand is taught, and the commit of the user's repository that it was made of."""

    name: str
    repository: Path
    folder: Path
    commit: str

    def prepare(self) -> None:
        """Bring the clone to the commit, with the brand's shop and overlay in place, unless it is there already.

        What a run has changed in the clone stays where the commit is the same, so that the run goes on.
        """
        ready = self.folder / PREPARED
        if ready.exists() and ready.read_text(encoding="utf-8") == self.commit:
            return
        ready.unlink(missing_ok=True)
        if not (self.folder / ".git").exists():
            git("clone", "--quiet", "--no-checkout", str(self.repository), str(self.folder))
        git("fetch", "--quiet", str(self.repository), "HEAD", repository=self.folder)
        git("checkout", "--quiet", "--force", "--detach", self.commit, repository=self.folder)
        git("clean", "--quiet", "--force", "-d", repository=self.folder)
        cache = ("cache.dir", str(cache_of(self.repository)))
        git("config", "--file", ".dvc/config.local", *cache, repository=self.folder)
        self.call(sys.executable, "-m", "demo.storefront", "--name", self.name)
        self.call(sys.executable, "-m", "stages.params", "--profile", profile_of(self.name))
        write_file(ready, self.commit)

    def call(self, *command: str) -> None:
        """Run a command in the clone, its output shown. Raises UserError where it fails; it has said why itself."""
        done = subprocess.run(command, cwd=self.folder, env=environment(), check=False)
        if done.returncode:
            said = " ".join(Path(part).name if part == sys.executable else part for part in command)
            raise UserError(f"`{said}` failed in {self.folder}, see above; when run again, this command goes on there")


def profile_of(name: str) -> str:
    """The overlay that turns the demo's params.yaml into the brand's, relative to the repository."""
    return f"demo/brands/{name}/profile.yaml"


@contextmanager
def cloned(name: str) -> Iterator[Clone]:
    """The clone in which a brand is taught; nobody else is at work in it.

    Raises UserError where the brand's profile is not committed, or another process teaches the same brand.
    """
    repository = Path(git("rev-parse", "--show-toplevel").strip())
    commit = find_commit("HEAD", repository)
    if read_at(commit, profile_of(name), repository) is None:
        raise UserError(f"{profile_of(name)}: not in the last commit, which is what is run: commit it first")
    clone = Clone(name, repository, repository / CLONES / name, commit)
    clone.folder.parent.mkdir(parents=True, exist_ok=True)
    with (clone.folder.parent / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{name} is being run already, in {clone.folder}") from None
        yield clone


def environment() -> dict[str, str]:
    """This environment with this Python first, which stages call as `python`, and without git's and DVC's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def uncommitted(repository: Path, besides: Sequence[str] = ()) -> list[str]:
    """Files of the user's repository that differ from HEAD or are new, but for those in the folders `besides`."""
    listed = git("status", "--porcelain", "--untracked-files=all", repository=repository).splitlines()
    return [line[3:] for line in listed if not line[3:].startswith(tuple(besides))]
