"""`dvc exp exec-run`, which runs one queued experiment in its checkout, without what costs it seconds each time.

    python -m stages.lib.dvc_executor exp exec-run --infofile ...

The workers of stages.grid start it in place of `dvc`. It does what DVC does, but for two things: Python's cyclic
garbage collector is off (a third of DVC's own time; the process ends with the experiment), and of the files that git
tracks only those that changed are written into git's index again (DVC does so with all of them before it commits the
experiment: here with two thousand).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
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


def main() -> int:
    """Run DVC's command line with this process's arguments; returns its exit status."""
    gc.disable()
    stage_only_what_changed()
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
