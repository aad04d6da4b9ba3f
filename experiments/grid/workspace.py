"""What of the user's repository an experiment starts from, and where it hands its results over. It is only read."""

from __future__ import annotations

import configparser
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.grid.node import Order
from experiments.grid.plan import Planner, Task
from stages.common.errors import UserError
from stages.common.params import Method
from stages.common.revisions import find_commit, git
from stages.common.scratch import SCRATCH_ROOT


@dataclass(frozen=True)
class Workspace:
    """The commit and the changes that experiments are run on, and whether results are shared by path or by remotes."""

    repository: Path
    commit: str
    patch: bytes
    by_path: bool
    origin: str
    author: tuple[str, str]

    def order(self, task: Task, inputs: Sequence[str], patch: bytes) -> Order:
        """The order of an experiment on what `prepare` made of this workspace."""
        return self._order(task.name, task.targets, tuple(inputs), patch, task.settings)

    def preparation(self, stages: Sequence[str], methods: Sequence[str], threads: int) -> Order:
        """The order to make what experiments share, and to measure the methods' pace on so many cores."""
        order = self._order("prepare", tuple(stages), tuple(stages), self.patch, ())
        return replace(order, pace=tuple(methods), pace_threads=threads)

    def _order(
        self, name: str, targets: tuple[str, ...], inputs: tuple[str, ...], patch: bytes, settings: tuple[str, ...]
    ) -> Order:
        cache, scratch, folder = "", "", ""
        if self.by_path:
            cache, scratch = str(cache_of(self.repository)), str(SCRATCH_ROOT.absolute())
            folder = str(self.repository / ".emblem" / "grid" / "node")
        return Order(
            name, self.commit, self.origin, targets, inputs, patch, settings, cache, scratch, folder, self.author
        )


def read_workspace(planner: Planner, methods: Sequence[Method], by_path: bool) -> Workspace:
    """The workspace as it is now.

    Raises UserError, in one line, where git does not know a file that experiments need; and where results are not
    shared by path, where other machines would miss something: a change that is not committed, a commit that is not
    pushed, a remote.
    """
    repository = Path(git("rev-parse", "--show-toplevel").strip())
    needed = [str(path) for path in planner.sources(methods)]
    if unknown := git("ls-files", "--others", "--exclude-standard", "--", *needed).splitlines():
        raise UserError(f"{listed(unknown)}: not in git, so no experiment would see it: git add it first")
    commit = find_commit("HEAD")
    if by_path:
        return Workspace(repository, commit, changes(repository), True, str(repository), author())
    changed = [line[3:] for line in git("status", "--porcelain", "--untracked-files=no").splitlines()]
    if changed:
        raise UserError(f"{listed(changed)}: changed, and other machines would miss it: commit and push it first")
    try:
        origin = git("remote", "get-url", "origin").strip()
    except UserError:
        raise UserError("no git remote named origin: other machines have nothing to clone from") from None
    if not git("branch", "--remotes", "--list", "origin/*", "--contains", commit).strip():
        raise UserError(f"commit {commit[:10]} is not pushed, and other machines would miss it: git push it first")
    if not has_default_remote(repository):
        raise UserError("no default DVC remote in .dvc/config: other machines could not hand over what they make")
    return Workspace(repository, commit, b"", False, origin, author())


def changes(repository: Path) -> bytes:
    """What the workspace's tracked files, and those that are added, differ in from HEAD, as a patch."""
    plain = ["-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false"]
    command = ["git", *plain, "diff", "--no-ext-diff", "--no-color", "--binary", "HEAD", "--"]
    return subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout


def cache_of(repository: Path) -> Path:
    """DVC's cache of a repository: where its configuration says, else .dvc/cache."""
    for name in ("config.local", "config"):
        if found := read_config(repository / ".dvc" / name).get("cache", "dir", fallback=""):
            return (repository / ".dvc" / found).resolve()
    return repository / ".dvc" / "cache"


def has_default_remote(repository: Path) -> bool:
    """Whether a repository's committed configuration names the remote that `dvc push` takes."""
    return bool(read_config(repository / ".dvc" / "config").get("core", "remote", fallback=""))


def read_config(file: Path) -> configparser.ConfigParser:
    """One of DVC's configuration files, empty where it is not there."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(file, encoding="utf-8")
    return config


def author() -> tuple[str, str]:
    """Whom commits are by: git's user here, else Emblem."""
    found = []
    for key, instead in (("user.name", "Emblem"), ("user.email", "emblem@invalid")):
        asked = subprocess.run(["git", "config", key], capture_output=True, text=True, check=False)
        found.append(asked.stdout.strip() or instead)
    return found[0], found[1]


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a line, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
