"""`python -m demo.brands NAME`: a clone of HEAD is run, its numbers are kept, the workspace stays as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demo.brands.__main__ import main
from docs.brands import collect

ROOT = Path(__file__).parents[2]
STUB = """
import pathlib, sys
with open({log!r}, "a") as file:
    file.write({name!r} + " " + " ".join(sys.argv[1:]) + "\\n")
pathlib.Path("data/brand").mkdir(parents=True, exist_ok=True)
pathlib.Path("data/brand/reference.png").write_text(" ".join(sys.argv[1:]))
"""
PIPELINE = """
stages:
  work:
    cmd: python work.py
    deps: [work.py, data/brand/reference.png]
    outs: [made.txt]
"""
WORK = """
import pathlib
with open({log!r}, "a") as file:
    file.write("work\\n")
assert not pathlib.Path({log!r} + ".broken").exists()
pathlib.Path("made.txt").write_text("made")
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose shop, overlay and one stage write down that they ran; its numbers are the committed ones."""
    folder, log = tmp_path / "repository", str(tmp_path / "log")
    for file in ("demo/storefront.py", "stages/params.py"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_text(STUB.format(log=log, name=file))
    (folder / "demo/brands/badge").mkdir(parents=True)
    shutil.copyfile(ROOT / "demo/brands/badge/profile.yaml", folder / "demo/brands/badge/profile.yaml")
    for name in ("details", "funnel.json", "detector_details.json", "verdict.json", "report.md"):
        copy = shutil.copytree if (ROOT / "metrics" / name).is_dir() else shutil.copyfile
        (folder / "metrics").mkdir(exist_ok=True)
        copy(ROOT / "metrics" / name, folder / "metrics" / name)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK.format(log=log))
    (folder / ".gitignore").write_text(".emblem/\n/made.txt\n__pycache__/\n")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "--quiet", "-m", "a")


def teach(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def ran(repository: Path) -> list[str]:
    """What was run since this was asked last."""
    log = repository.parent / "log"
    lines = [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    log.write_text("")
    return lines


def test_the_numbers_are_kept_and_nothing_else_of_the_workspace_changes(repository: Path) -> None:
    result = teach("badge")
    assert result.exit_code == 0, result.output
    assert run(repository, "git", "status", "--porcelain", "--untracked-files=all") == "?? metrics/brands/badge.json\n"
    kept = json.loads((repository / "metrics/brands/badge.json").read_text())
    assert kept == {"brand": "badge", "commit": run(repository, "git", "rev-parse", "HEAD").strip(), **collect(ROOT)}
    clone = repository / ".emblem/brands/badge"
    assert (clone / "data/brand/reference.png").read_text() == "--profile demo/brands/badge/profile.yaml"
    assert str(clone / "data/brand/reference.png") in result.output
    assert str(clone / "metrics/samples/lora.png") in result.output
    assert run(clone, "git", "config", "--file", ".dvc/config.local", "cache.dir").strip() == str(
        repository / ".dvc/cache"
    )
    assert "not committed" not in result.output


def test_it_goes_on_where_it_was_and_takes_what_head_has_changed(repository: Path) -> None:
    broken = repository.parent / "log.broken"
    broken.touch()
    failed = teach("badge")
    assert failed.exit_code == 1
    assert failed.output.splitlines()[-1].startswith("error: `python")
    assert not (repository / "metrics/brands").exists()
    assert ran(repository) == ["demo/storefront.py", "stages/params.py", "work"]
    broken.unlink()
    assert teach("badge").exit_code == 0
    assert ran(repository) == ["work"]  # the shop is there
    assert teach("badge").exit_code == 0
    assert ran(repository) == []  # all is there
    with (repository / "work.py").open("a") as file:
        file.write("# changed\n")
    said = teach("badge")
    assert "not committed: work.py; what runs is commit" in said.output
    assert ran(repository) == []
    commit(repository)
    assert teach("badge").exit_code == 0
    assert ran(repository) == ["demo/storefront.py", "stages/params.py", "work"]


def test_as_far_as_a_stage_no_numbers_are_kept(repository: Path) -> None:
    assert teach("badge", "work").exit_code == 0
    assert ran(repository)[-1] == "work"
    assert run(repository, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [("nope", "there are badge, wordmark, mark"), ("hugo", "`make repro` runs"), ("mark", "commit it first")],
)
def test_what_cannot_be_run_is_one_line(repository: Path, name: str, said: str) -> None:
    result = teach(name)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert ran(repository) == []
