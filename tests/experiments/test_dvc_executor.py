"""The grid's own executor commits what DVC's would commit, and writes no object that is not new."""

import subprocess
from pathlib import Path

import pytest
from scmrepo.git import Git
from scmrepo.git.backend.dulwich import DulwichBackend

from experiments.dvc_executor import stage_only_what_changed


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(DulwichBackend, "add", DulwichBackend.add)  # restored after the test
    git(tmp_path, "init", "-q")
    for setting in (("user.name", "a"), ("user.email", "a@b.c")):
        git(tmp_path, "config", *setting)
    (tmp_path / "folder").mkdir()
    for name in ("kept", "changed", "same size", "removed", "folder/é"):
        (tmp_path / name).write_text("before")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def change(folder: Path) -> None:
    (folder / "changed").write_text("longer than before")
    (folder / "same size").write_text("beforE")
    (folder / "folder/é").write_text("after")
    (folder / "removed").unlink()
    (folder / "untracked").write_text("not DVC's business")


def test_the_same_tree_is_committed_as_by_dvc(repository: Path) -> None:
    change(repository)
    trees = []
    for ours in (False, True):
        git(repository, "reset", "-q", "--mixed", "HEAD")
        if ours:
            stage_only_what_changed()
        with Git(str(repository)) as scm:
            scm.add([], update=True)
        trees.append(git(repository, "write-tree"))
    assert trees[0] == trees[1]
    listed = git(repository, "ls-tree", "-r", "--name-only", "-z", trees[1].strip()).split("\0")
    assert "removed" not in listed
    assert "untracked" not in listed
    assert git(repository, "cat-file", "-p", f"{trees[1].strip()}:same size") == "beforE"


def test_files_that_did_not_change_are_not_written_again(repository: Path) -> None:
    stage_only_what_changed()
    git(repository, "gc", "-q", "--prune=now")
    (repository / "changed").write_text("longer than before")
    with Git(str(repository)) as scm:
        scm.add([], update=True)
    loose = [path for path in (repository / ".git/objects").rglob("*") if path.is_file() and len(path.name) == 38]
    assert len(loose) == 1


def test_named_files_are_added_as_before(repository: Path) -> None:
    stage_only_what_changed()
    change(repository)
    with Git(str(repository)) as scm:
        scm.add([str(repository / "untracked")])
    assert git(repository, "diff", "--cached", "--name-only").split() == ["untracked"]
