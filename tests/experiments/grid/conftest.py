"""The repository that grids are run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grid_repository import PIPELINE, ROOT, WORK, params_with, run, wait_until_nothing_is_at_work


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with the real params.yaml, a grid of two LoRAs, and stages that take no time."""
    folder = tmp_path / "with space"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".gitkeep").touch()
    (folder / "params.yaml").write_text(params_with(rank="[4, 8]"))
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK)
    for name in ("dreambooth", "textual_inversion", "lora", "report"):
        (folder / f"{name}.py").write_text("pass\n")
    (folder / "versions.yaml").write_text(
        next(line for line in (ROOT / "versions.yaml").read_text().splitlines() if line.startswith("torch:")) + "\n"
    )
    (folder / ".gitignore").write_text("/.emblem\n__pycache__\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("EMBLEM_THREADS", "2")
    monkeypatch.setenv("EMBLEM_NODE", str(tmp_path / "node"))
    monkeypatch.setenv("GRID_TEST_LOG", str(tmp_path / "log.jsonl"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@invalid")
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    site = f"[core]\n    site_cache_dir = {tmp_path / 'site'}\n"
    (folder / ".dvc/config").write_text((ROOT / ".dvc/config").read_text().replace("[core]\n", site, 1))
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "start")
    yield folder
    wait_until_nothing_is_at_work(folder)
