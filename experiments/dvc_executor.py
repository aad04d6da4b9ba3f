"""`dvc exp exec-run`, which runs one queued experiment in its checkout, without what costs it seconds each time.

    python -m experiments.dvc_executor exp exec-run --infofile ...

The workers of experiments.grid start it in place of `dvc`. It does what DVC does, but for three things: Python's cyclic
garbage collector is off (a third of DVC's own time; the process ends with the experiment); of the files that git tracks
only those that changed are written into git's index again (DVC does so with all of them before it commits the
experiment: here with two thousand); and a YAML file is parsed once as long as it stays as it is (DVC: some 80 times).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from copy import deepcopy
from typing import Any


def stage_only_what_changed() -> None:
    """Make DVC's "add whatever is tracked" look at the files' times first, as git itself does."""
    from dulwich.index import get_unstaged_changes
    from scmrepo.git.backend.dulwich import DulwichBackend

    add_all = DulwichBackend.add

    def add(self: Any, paths: str | Iterable[str], update: bool = False, force: bool = False) -> None:
        if update and not paths:
            changed = list(get_unstaged_changes(self.repo.open_index(), self.root_dir))
            self.repo.get_worktree().stage(changed)
        else:
            add_all(self, paths, update=update, force=force)

    DulwichBackend.add = add  # type: ignore[method-assign]


def parse_once() -> None:
    """Keep what YAML texts hold. Must come before anything imports DVC's parser by its name."""
    from dvc.utils import serialize

    parse, known = serialize.parse_yaml, {}

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":  # what is to be written again keeps its comments, and belongs to its caller
            return parse(text, path, typ)
        if text not in known:
            known[text] = parse(text, path, typ)
        return deepcopy(known[text])

    serialize.parse_yaml = serialize._yaml.parse_yaml = parse_yaml


def main() -> int:
    """Run DVC's command line with this process's arguments; returns its exit status."""
    gc.disable()
    parse_once()
    stage_only_what_changed()
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[1:]))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing is left to be done; taking all objects apart would take its time
