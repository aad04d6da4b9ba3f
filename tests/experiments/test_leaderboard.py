"""The leaderboard ranks right, and reads real DVC experiments without checking one out."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.leaderboard import leaderboard, rank_checkpoints, shown_parameters, table
from experiments.results import Experiment
from stages.common.errors import UserError
from stages.common.revisions import Revision, find_revisions
from tests.grid_world import GridWorld, picture

SAMPLE = """
import json, pathlib, sys
from PIL import Image
from ruamel.yaml import YAML
params = YAML(typ="safe", pure=True).load(open("params.yaml"))["finetune"]["lora"]
pathlib.Path("models/lora").mkdir(parents=True)
pathlib.Path("models/lora/weights").write_text(json.dumps(params))
"""
SCORE = """
import json, pathlib
from PIL import Image
params = json.loads(pathlib.Path("models/lora/weights").read_text())
rows = [{"epoch": e, "images": 48, "mean_od": min(1, params["rank"] / 16 + e / 100), "mean_ocr": e / 12,
         "mean": 0.5} for e in (0, 3, 6)]
for name in ("metrics/epochs", "data/samples/lora"):
    pathlib.Path(name).mkdir(parents=True, exist_ok=True)
pathlib.Path("metrics/epochs/lora.json").write_text(json.dumps(rows))
manifest = []
for p in range(2):
    file = f"p{p}.png"
    Image.new("RGB", (8, 8), (params["rank"], 100 * p, 0)).save("data/samples/lora/" + file)
    manifest += [{"epoch": e, "plain": False, "prompt_index": p, "seed_index": 0, "file": file} for e in (3, 6)]
pathlib.Path("data/samples/lora/manifest.jsonl").write_text("".join(json.dumps(r) + chr(10) for r in manifest))
"""
PARAMS = """sample:
  prompts: ["a mug with a {token} logo", "a bag with a {token} logo"]
finetune:
  lora:
    unet_lr: 0.0001
    text_encoder_lr: 5e-6
    rank: 4
"""
DVC_YAML = """stages:
  finetune:
    matrix: {method: [lora]}
    cmd: >-
      PYTHON finetune.py
    deps: [finetune.py]
    params: ["finetune.${item.method}"]
    outs: [models/lora]
  score:
    matrix: {method: [lora]}
    cmd: >-
      PYTHON score.py
    deps: [models/lora, score.py]
    outs: [data/samples/lora]
    plots: [{metrics/epochs/lora.json: {cache: false}}]
"""


def experiment(
    name: str, unet_lr: float, text_encoder_lr: float, rank: int, *epochs: tuple[float, float]
) -> Experiment:
    rows = tuple({"epoch": 3 * (i + 1), "mean_od": od, "mean_ocr": ocr} for i, (od, ocr) in enumerate(epochs))
    parameters = {"unet_lr": unet_lr, "text_encoder_lr": text_encoder_lr, "rank": rank, "alpha": 16.0}
    return Experiment(Revision(name, name), parameters, rows, ("a mug with a {token} logo",))


GRID = [
    experiment("a", 1e-4, 5e-6, 4, (0.2, 0.0), (0.4, 0.2)),
    experiment("b", 1e-4, 5e-6, 8, (0.6, 0.4), (0.5, 0.5)),
    experiment("c", 1e-4, 5e-6, 16, (0.3, 0.1)),
    experiment("d", 1e-4, 5e-6, 32, (0.2, 0.1)),
    experiment("e", 5e-5, 5e-6, 4, (0.55, 0.45)),
]


def test_checkpoints_are_ranked_by_the_papers_normscore() -> None:
    entries = rank_checkpoints(GRID)
    # od spans 0.2 to 0.6, ocr 0.0 to 0.5.
    assert [(e.experiment.revision.name, e.epoch, e.normscore) for e in entries[:3]] == [
        ("b", 3, 0.9),
        ("e", 3, 0.8875),
        ("b", 6, 0.875),
    ]
    assert [e.place for e in entries] == [1, 2, 3, 4, 5, 6, 7]
    assert entries[-1].normscore == 0


def test_only_the_papers_parameters_and_those_that_differ_are_columns() -> None:
    assert shown_parameters(GRID, "lora") == ["unet_lr", "text_encoder_lr", "rank"]
    header, rows = table(rank_checkpoints(GRID)[:1], ["unet_lr", "text_encoder_lr", "rank"])
    assert header[:5] == ["#", "Experiment", "unet_lr", "text_encoder_lr", "rank"]
    assert rows[0][:7] == ["1", "b", "0.0001", "5e-06", "8", "3", "0.900"]


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a run, and two experiments of another rank."""
    folder = tmp_path_factory.mktemp("grid")
    dvc = (sys.executable, "-m", "dvc")
    run("git", "init", "-q", cwd=folder)
    for key, value in (("user.name", "test"), ("user.email", "test@example.invalid")):
        run("git", "config", key, value, cwd=folder)
    run(*dvc, "init", "-q", cwd=folder)
    for key, value in (("core.analytics", "false"), ("core.autostage", "true"), ("core.check_update", "false")):
        run(*dvc, "config", key, value, cwd=folder)
    (folder / "finetune.py").write_text(SAMPLE)
    (folder / "score.py").write_text(SCORE)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "dvc.yaml").write_text(DVC_YAML.replace("PYTHON", shlex.quote(sys.executable)))
    run("git", "add", "-A", cwd=folder)
    run("git", "commit", "-qm", "before the first run", cwd=folder)
    run(*dvc, "repro", "-q", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "commit", "-qm", "run", cwd=folder)
    run(*dvc, "exp", "run", "-q", "-n", "rank8", "-S", "finetune.lora.rank=8", cwd=folder)
    # This one trains with another rank but is never scored: the numbers in its commit are the baseline's.
    run("git", "checkout", "-q", "--force", "HEAD", cwd=folder)
    run(*dvc, "exp", "run", "-q", "-n", "unscored", "-S", "finetune.lora.rank=12", "finetune@lora", cwd=folder)
    run("git", "checkout", "-q", "--force", "HEAD", cwd=folder)
    return folder


def test_every_experiment_counts_once_and_only_with_its_own_numbers(repository: Path, tmp_path: Path) -> None:
    entries = leaderboard(repository=repository, out=tmp_path)
    assert [(e.experiment.revision.name, e.epoch, e.place) for e in entries] == [
        ("rank8", 6, 1),
        ("HEAD", 6, 2),
        ("rank8", 3, 3),
        ("HEAD", 3, 4),
    ]
    text = (tmp_path / "leaderboard.md").read_text()
    assert "Left out: unscored: its numbers are older than its training: score@lora was not run again" in text
    assert "5e-06" in text
    rows = list(csv.DictReader((tmp_path / "checkpoints.csv").open()))
    assert [row["rank"] for row in rows] == ["8", "4", "8", "4"]
    assert json.dumps([e.normscore for e in entries]) == "[1.0, 0.553571, 0.446429, 0.0]"


def test_how_far_a_model_was_trained_is_no_column() -> None:
    first, second = (
        Experiment(e.revision, e.parameters | {"stop_after": stop}, e.epochs, e.prompts)
        for e, stop in zip(GRID[:2], (0, 9), strict=True)
    )
    assert shown_parameters([first, second], "lora") == ["unet_lr", "text_encoder_lr", "rank"]


def test_a_race_s_rungs_of_one_model_are_one_row_each_checkpoint(tmp_path: Path) -> None:
    world = GridWorld(tmp_path / "repository")
    parameters = {"unet_lr": 0.001, "text_encoder_lr": 0.002, "rank": 4}
    for name, stop_after, seeds in (("rung-1", 6, 1), ("rung-2", 0, 2)):
        world.add(name, "lora", lambda *_: picture(0.8, True), stop_after=stop_after, seeds=seeds, **parameters)
    entries = leaderboard(["rung-1", "rung-2"], repository=world.folder, out=tmp_path)
    assert [(e.experiment.revision.name, e.epoch) for e in entries] == [("rung-2", epoch) for epoch in (3, 6, 9, 12)]
    assert "1 experiments of the same models that went no further" in (tmp_path / "leaderboard.md").read_text()
    assert "of 1 models" in (tmp_path / "index.html").read_text()


def test_revisions_are_experiments_by_name_and_commits_with_theirs(repository: Path) -> None:
    assert [r.name for r in find_revisions(["rank8"], repository)] == ["rank8"]
    assert [r.name for r in find_revisions(["HEAD"], repository)] == ["HEAD", "rank8", "unscored"]
    with pytest.raises(UserError, match="neither an experiment nor a git revision"):
        find_revisions(["no-such"], repository)
