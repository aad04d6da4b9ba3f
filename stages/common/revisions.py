"""DVC's experiments, read straight from git: parameters, lock and metrics of any set of revisions, none checked out.

Only a finished experiment has a ref `refs/exps/<baseline>/<name>`; failed and killed ones have none, so the baseline's
numbers that `dvc exp show` lists for them cannot slip in.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import UserError

_REF = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")


@dataclass(frozen=True)
class Revision:
    """A commit to read: an experiment (with its name) or any other."""

    name: str
    commit: str


def find_revisions(asked: Sequence[str], repository: Path = Path()) -> list[Revision]:
    """The revisions asked for, by name.

    Args:
        asked: experiments' names, or any git revisions, which stand for themselves and for the experiments that started
            from them. Empty: every experiment in the repository, and HEAD.

    Raises:
        UserError: an unknown revision.
    """
    experiments = _experiments(repository)
    if not asked:
        everything = [Revision(name, commit) for _, name, commit in experiments]
        return _unique([*everything, Revision("HEAD", _commit("HEAD", repository))])
    found = []
    for text in asked:
        named = [Revision(name, commit) for _, name, commit in experiments if name == text]
        if named:
            found += named
            continue
        commit = _commit(text, repository)
        found.append(Revision(text, commit))
        found += [Revision(name, tip) for baseline, name, tip in experiments if baseline == commit]
    return _unique(found)


def read_at(commit: str, path: str, repository: Path = Path()) -> str | None:
    """A file's text at a commit, None where it is not there."""
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=repository, capture_output=True, check=False)
    return done.stdout.decode("utf-8") if done.returncode == 0 else None


def parse_yaml(text: str) -> Any:
    """YAML 1.2, in which 5e-06 (as DVC writes it) is a number."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def _experiments(repository: Path) -> list[tuple[str, str, str]]:
    """(baseline, name, commit) of every finished experiment, by name."""
    listed = _git(["for-each-ref", "--format=%(refname) %(objectname)", "refs/exps"], repository)
    rows = []
    for line in listed.splitlines():
        ref, commit = line.rsplit(" ", 1)
        if match := _REF.fullmatch(ref):
            rows.append((match[1] + match[2], match[3], commit))
    return sorted(rows, key=lambda row: (row[1], row[0]))


def _commit(revision: str, repository: Path) -> str:
    try:
        return _git(["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], repository).strip()
    except UserError:
        raise UserError(f"{revision}: neither an experiment nor a git revision (`dvc exp list` names them)") from None


def _git(arguments: list[str], repository: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout


def _unique(revisions: list[Revision]) -> list[Revision]:
    return list({revision.commit: revision for revision in reversed(revisions)}.values())[::-1]


def open_samples(commit: str, method: str, epoch: int, prompts: int, repository: Path = Path()) -> list[Any]:
    """The first seed's picture of each prompt that a checkpoint of an experiment drew (PIL), from DVC's cache.

    Raises:
        UserError: they are in no cache or remote that can be reached.
    """
    from dvc.api import DVCFileSystem  # type: ignore[import-untyped]
    from dvc.exceptions import DvcException  # type: ignore[import-untyped]
    from PIL import Image

    folder = f"data/samples/{method}"
    try:
        files = DVCFileSystem(str(repository.absolute()), rev=commit)
        rows = [json.loads(line) for line in files.read_text(f"{folder}/manifest.jsonl").splitlines() if line.strip()]
        wanted: dict[int, dict[str, Any]] = {}
        for row in rows:
            if row["epoch"] == epoch and not row["plain"] and row["prompt_index"] < prompts:
                wanted.setdefault(row["prompt_index"], row)
                if row["seed_index"] < wanted[row["prompt_index"]]["seed_index"]:
                    wanted[row["prompt_index"]] = row
        return [Image.open(io.BytesIO(files.read_bytes(f"{folder}/{wanted[i]['file']}"))) for i in sorted(wanted)]
    except (OSError, DvcException) as error:
        raise UserError(
            f"its pictures are not in DVC's cache ({type(error).__name__}); `dvc exp pull` fetches them"
        ) from None
