"""The grid runs through DVC's queue: nothing twice, nothing lost, whoever is killed."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.grid import plan
from stages.common.errors import UserError
from stages.common.params import load_params

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  caption:
    cmd: python work.py caption
    deps: [work.py]
    outs: [data/captioned.txt]
  finetune:
    matrix: {method: [dreambooth, lora]}
    cmd: python work.py finetune ${item.method}
    deps: [data/captioned.txt, work.py, "${item.method}.py"]
    params: ["finetune.${item.method}", versions.yaml: [torch]]
    outs: ["models/${item.method}.txt"]
  score:
    matrix: {method: [dreambooth, lora]}
    cmd: python work.py score ${item.method}
    deps: ["models/${item.method}.txt", work.py]
    metrics:
      - metrics/epochs/${item.method}.json: {cache: false}
  report:
    cmd: python report.py
    deps: [metrics/epochs/lora.json, metrics/epochs/dreambooth.json, report.py]
"""
WORK = """
import json, os, pathlib, sys, time
stage, method = (sys.argv[1:] + [""])[:2]
log = os.environ["GRID_TEST_LOG"]
def write(*row):
    with open(log, "a") as file:
        file.write(json.dumps(row) + "\\n")
write(stage, os.environ.get("EMBLEM_THREADS"))
if stage == "caption":
    pathlib.Path("data/captioned.txt").write_text("captions")
if stage == "finetune":
    import ruamel.yaml
    from stages.common.files import write_file
    from stages.common.scratch import digest, scratch_folder
    lora = ruamel.yaml.YAML(typ="safe").load(open("params.yaml"))["finetune"]["lora"]
    if os.environ.get("GRID_TEST_FAIL") and lora["rank"] == 8:
        sys.exit("no")
    state = scratch_folder("finetune", digest(lora)) / "steps"
    for step in range(int(state.read_text()) if state.exists() else 0, 10):
        time.sleep(float(os.environ.get("GRID_TEST_SECONDS", "0")) / 10)
        write_file(state, str(step + 1))
        write("step", digest(lora), step)
    pathlib.Path("models").mkdir(exist_ok=True)
    pathlib.Path("models", method + ".txt").write_text(json.dumps(lora))
if stage == "score":
    lora = json.loads(pathlib.Path("models", method + ".txt").read_text())
    pathlib.Path("metrics/epochs").mkdir(parents=True, exist_ok=True)
    rows = [{"epoch": epoch, "rank": lora["rank"], "mean_od": lora["rank"] / epoch / 8,
             "mean_ocr": lora["unet_lr"] * 100} for epoch in (3, 6)]
    pathlib.Path("metrics/epochs", method + ".json").write_text(json.dumps(rows))
"""
GRID = "grid:\n  unet_lr: [5e-6]\n  text_encoder_lr: [0.001]\n  rank: [4, 8]\n  alpha_per_rank: 1.0\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with the real params.yaml, a 1 x 1 x 2 grid and stages that take no time."""
    folder = tmp_path / "with space"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".gitkeep").touch()
    text = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text[: text.index("grid:")] + GRID)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK)
    for name in ("dreambooth", "lora", "report"):
        (folder / f"{name}.py").write_text("pass\n")
    (folder / "versions.yaml").write_text('torch: "2.15"\n')
    (folder / ".gitignore").write_text("/.emblem\n__pycache__\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("EMBLEM_THREADS", "2")
    monkeypatch.setenv("GRID_TEST_LOG", str(tmp_path / "log.jsonl"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@invalid")
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    (folder / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "start")
    yield folder
    kill_workers(folder)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def grid(repository: Path, *arguments: str, seconds: float = 170) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.grid", *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=seconds, check=False)


def started(repository: Path, stage: str) -> list[list[str]]:
    """What the stages wrote to the log under a name: a stage that began, or a step of the training that was made."""
    log = repository.parent / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [row for row in map(json.loads, lines) if row[0] == stage]


def experiments(repository: Path) -> list[str]:
    return sorted(run(repository, "dvc", "exp", "list", "--name-only").split())


def kill_workers(repository: Path) -> None:
    """Kill the workers of the repository's queue with all that they have started: they are a process group."""
    for file in (repository / ".dvc/tmp/exps/celery").glob("dvc-exp-worker-*.pid"):
        pid = int(file.read_text())
        command = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if "queue-worker" in command.stdout:
            os.killpg(os.getpgid(pid), signal.SIGKILL)


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_the_paper_s_grid_is_125_experiments() -> None:
    tasks = plan(load_params(ROOT / "params.yaml"), ROOT / "dvc.yaml")
    assert len({task.name for task in tasks}) == len(tasks) == 125
    assert {task.targets for task in tasks} == {("finetune@lora", "sample@lora", "score@lora")}


def test_names_follow_what_decides_the_numbers(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)

    def names() -> list[str]:
        return [task.name for task in plan(load_params())]

    first, texts = names(), {path: path.read_text() for path in map(Path, ("params.yaml", "work.py", "versions.yaml"))}
    params = texts[Path("params.yaml")]
    assert names() == first
    for same in (("top: 3", "top: 2"), ("num_vectors: 2", "num_vectors: 1"), ("rank: [4, 8]", "rank: [8, 4]")):
        assert same[0] in params
        Path("params.yaml").write_text(params.replace(*same))
        assert sorted(names()) == sorted(first), same
    for other in (("seed: 20", "seed: 21"), ("threshold: 0.70", "threshold: 0.80")):
        assert other[0] in params
        Path("params.yaml").write_text(params.replace(*other))
        assert not set(names()) & set(first), other
    Path("params.yaml").write_text(params)
    for file in ("dreambooth.py", "report.py"):
        Path(file).write_text("# changed\n")
        assert names() == first, file
    for file in ("work.py", "versions.yaml", "lora.py"):
        before = Path(file).read_text()
        Path(file).write_text(before + "# changed\n")
        assert not set(names()) & set(first), file
        Path(file).write_text(before)


def test_small_learning_rates_and_alpha_reach_the_experiment(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    settings = [[f"{key}={value!r}" for key, value in task.settings] for task in plan(load_params())]
    assert [
        "finetune.lora.unet_lr=5e-06",
        "finetune.lora.text_encoder_lr=0.001",
        "finetune.lora.rank=8",
        "finetune.lora.alpha=8.0",
    ] in settings


def test_a_grid_of_a_method_that_is_left_out_is_refused() -> None:
    params = load_params(ROOT / "params.yaml").changed("finetune.lora", epochs=0)
    with pytest.raises(UserError, match=r"finetune\.lora\.epochs = 0"):
        plan(params, ROOT / "dvc.yaml")


def test_nothing_is_run_twice_and_nothing_is_lost(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid and its workers are killed, as when a machine goes down; the same command goes on, and one experiment
    fails; once more the same command runs that one again, and no other."""
    monkeypatch.setenv("GRID_TEST_FAIL", "yes")
    monkeypatch.setenv("GRID_TEST_SECONDS", "3")
    command = [sys.executable, "-m", "experiments.grid", "run", "-j", "2"]
    killed = subprocess.Popen(command, cwd=repository, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(started(repository, "step")) >= 3)
    killed.kill()
    killed.wait()
    kill_workers(repository)

    monkeypatch.setenv("GRID_TEST_SECONDS", "0")
    failed = grid(repository, "run", "-j", "2")
    assert failed.returncode == 1
    assert "the worker was killed; cleared by dvc queue kill" in failed.stderr
    assert not list((repository / ".dvc/tmp/exps").glob("tmp*")), "a killed experiment's checkout is still there"
    said = failed.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: 1 of 2 experiments failed \((grid-\w+)\): `dvc queue logs \1` says why, .*", said), (
        said
    )
    (first,) = experiments(repository)
    assert "1 failed, 1 finished" in grid(repository, "status").stdout
    assert {row[1] for row in started(repository, "finetune")} == {"1"}, "two cores for two workers"
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    assert len(steps) == len(set(steps)) == 10, (
        "a killed training began anew, though its state was there to resume from"
    )

    begun = len(started(repository, "finetune"))
    kill_workers(repository)  # they have the old environment
    monkeypatch.delenv("GRID_TEST_FAIL")
    last = grid(repository, "run", "-j", "1")
    assert last.returncode == 0, last.stderr
    assert len(started(repository, "finetune")) == begun + 1, "what was finished was run again"
    assert len(started(repository, "caption")) == 1, "what the experiments share was made more than once"
    names = experiments(repository)
    assert len(names) == 2
    assert first in names
    assert all(re.fullmatch(r"grid-[0-9a-f]{12}", name) for name in names)
    with (repository / "metrics/leaderboard/table3.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["experiment"], row["unet_lr"]) for row in rows} == {(name, "5e-06") for name in names}
    assert {row["rank"] for row in rows} == {"4", "8"}
    assert run(repository, "git", "status", "--porcelain", "params.yaml", "work.py") == ""


def test_code_that_git_does_not_know_is_named(repository: Path) -> None:
    pipeline = repository / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace('"${item.method}.py"', '"${item.method}.py", new.py'))
    (repository / "new.py").touch()
    done = grid(repository, "queue")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "error: new.py: not in git, so no experiment would see it: git add it first",
    )


def test_two_grids_at_once_are_refused(repository: Path) -> None:
    (repository / ".emblem").mkdir()
    with (repository / ".emblem/grid.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = grid(repository, "run")
    assert done.returncode == 1
    assert done.stderr == "error: another `python -m experiments.grid` is at work in this repository\n"
