"""Commits and DVC's experiments, read straight from git: no revision is checked out.

Only a finished experiment has a ref `refs/exps/<baseline>/<name>`; failed and killed ones have none, so the baseline's
numbers that `dvc exp show` lists for them cannot slip in.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import UserError

EXPERIMENT_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")
"""The baseline's commit in two parts, as git shortens folders, and the experiment's name."""


@dataclass(frozen=True)
class Revision:
    """A commit to read: an experiment (with its name) or any other."""

    name: str
    commit: str


@dataclass(frozen=True)
class Experiment(Revision):
    """A finished experiment, and the commit that it started from."""

    baseline: str


def find_experiments(repository: Path = Path()) -> list[Experiment]:
    """Every finished experiment in the repository, by name."""
    listed = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps", repository=repository)
    found = []
    for line in listed.splitlines():
        ref, commit = line.rsplit(" ", 1)
        if match := EXPERIMENT_REF.fullmatch(ref):
            found.append(Experiment(match[3], commit, match[1] + match[2]))
    return sorted(found, key=lambda experiment: (experiment.name, experiment.baseline))


def find_revisions(asked: Sequence[str], repository: Path = Path()) -> list[Revision]:
    """The revisions asked for, by name.

    Args:
        asked: experiments' names, or any git revisions, which stand for themselves and for the experiments that started
            from them. Empty: every experiment in the repository, and HEAD.

    Raises:
        UserError: an unknown revision.
    """
    experiments = find_experiments(repository)
    if not asked:
        return unique([*experiments, Revision("HEAD", find_commit("HEAD", repository))])
    found: list[Revision] = []
    for text in asked:
        named = [experiment for experiment in experiments if experiment.name == text]
        if named:
            found += named
            continue
        commit = find_commit(text, repository)
        found.append(Revision(text, commit))
        found += [experiment for experiment in experiments if experiment.baseline == commit]
    return unique(found)


def find_commit(revision: str, repository: Path = Path()) -> str:
    """The commit that a revision names. Raises UserError where there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", repository=repository).strip()
    except UserError:
        raise UserError(f"{revision}: neither an experiment nor a git revision (`dvc exp list` names them)") from None


def read_at(commit: str, path: str, repository: Path = Path()) -> bytes | None:
    """The bytes of a file that git has at a commit, None where it is not there."""
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=repository, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def git(*arguments: str, text: str | None = None, repository: Path = Path()) -> str:
    """What git prints, given `text` on its standard input. Raises UserError with its own words where it fails."""
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False, input=text)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout


def unique(revisions: Iterable[Revision]) -> list[Revision]:
    """The revisions without those of a commit that comes earlier."""
    first: dict[str, Revision] = {}
    for revision in revisions:
        first.setdefault(revision.commit, revision)
    return list(first.values())
