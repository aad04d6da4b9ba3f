"""The grid runs through DVC's queue: nothing twice, nothing lost, whoever is killed."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from experiments.grid import lend_objects, plan, shares
from stages.common.params import load_params

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  caption:
    cmd: python work.py caption
    deps: [work.py]
    outs: [data/captioned.txt]
  finetune:
    matrix:
      method: ${methods}
    cmd: python work.py finetune ${item.method}
    deps: [data/captioned.txt, work.py]
    params: ["finetune.${item.method}"]
    outs: ["models/${item.method}.txt"]
  score:
    matrix:
      method: ${methods}
    cmd: python work.py score ${item.method}
    deps: ["models/${item.method}.txt", work.py]
    outs:
      - metrics/epochs/${item.method}.json: {cache: false}
"""
WORK = """
import json, os, pathlib, sys, time
stage, method = (sys.argv[1:] + [""])[:2]
log = os.environ.get("GRID_TEST_LOG")
if log:
    with open(log, "a") as file:
        file.write(json.dumps([stage, os.environ.get("EMBLEM_THREADS")]) + "\\n")
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
        write_file(state, str(step + 1).encode())
        with open(log, "a") as file:
            file.write(json.dumps(["step", digest(lora), step]) + "\\n")
    pathlib.Path("models").mkdir(exist_ok=True)
    pathlib.Path("models", method + ".txt").write_text(json.dumps(lora))
if stage == "score":
    lora = json.loads(pathlib.Path("models", method + ".txt").read_text())
    pathlib.Path("metrics/epochs").mkdir(parents=True, exist_ok=True)
    rows = [{"epoch": epoch, "rank": lora["rank"], "mean_od": lora["rank"] / epoch / 8,
             "mean_ocr": lora["unet_lr"] * 100} for epoch in (3, 6)]
    pathlib.Path("metrics/epochs", method + ".json").write_text(json.dumps(rows))
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the real params.yaml, a 2 x 1 x 2 grid and stages that take no time."""
    folder = tmp_path / "with space"
    folder.mkdir()
    text = (ROOT / "params.yaml").read_text()
    start = text.index("grid:")
    grid = "grid:\n  unet_lr: [5e-6, 0.002]\n  text_encoder_lr: [0.001]\n  rank: [4, 8]\n  alpha_per_rank: 1.0\n"
    text = text[:start] + grid
    (folder / "params.yaml").write_text(text.replace("methods:  ", "methods: "))
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK)
    (folder / "data").mkdir()
    (folder / "data" / ".gitkeep").touch()
    (folder / ".gitignore").write_text("/.emblem\n__pycache__\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("EMBLEM_THREADS", "2")
    monkeypatch.setenv("GRID_TEST_LOG", str(tmp_path / "log.jsonl"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "test")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "test@invalid")
    for command in (
        "git init -q",
        "dvc init -q",
        "dvc config core.analytics false",
        "git add .",
        "git commit -qm start",
    ):
        subprocess.run(command.split(), cwd=folder, check=True)
    yield folder
    for worker in workers(folder):
        worker.kill()


def grid(repository: Path, *arguments: str, seconds: float = 170) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.grid", *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=seconds)


def started(repository: Path, stage: str) -> list[list[str]]:
    """What the stages wrote to the log under a name: a stage that began, or a step of the training that was made."""
    lines = (repository.parent / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row[0] == stage]


def experiments(repository: Path) -> list[str]:
    done = subprocess.run(
        ["dvc", "exp", "list", "--name-only"], cwd=repository, capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


def workers(repository: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "queue-worker" in command and process.cwd() == str(repository):
            found.append(process)
    return found


def test_the_paper_s_grid_is_125_experiments() -> None:
    names = [e.name for e in plan(load_params(ROOT / "params.yaml"), ROOT / "dvc.yaml")]
    assert len(names) == len(set(names)) == 125


def test_names_follow_what_decides_the_numbers(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)

    def names() -> list[str]:
        return [e.name for e in plan(load_params())]

    first, text = names(), Path("params.yaml").read_text()
    assert names() == first
    for same in (("top: 3", "top: 2"), ("num_vectors: 1", "num_vectors: 2"), ("rank: [4, 8]", "rank: [8, 4]")):
        Path("params.yaml").write_text(text.replace(*same))
        assert sorted(names()) == sorted(first), same
    for other in (("seed: 20", "seed: 21"), ("threshold: 0.70", "threshold: 0.80")):
        Path("params.yaml").write_text(text.replace(*other))
        assert not set(names()) & set(first), other
    Path("params.yaml").write_text(text)
    Path("work.py").write_text(WORK + "# changed\n")
    assert not set(names()) & set(first)


def test_small_learning_rates_and_alpha_reach_the_experiment(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    overrides = [e.overrides for e in plan(load_params())]
    assert ["finetune.lora.unet_lr=5e-06", "finetune.lora.text_encoder_lr=0.001", "finetune.lora.rank=8",
            "finetune.lora.alpha=8.0"] in overrides  # fmt: skip


def test_cores_and_gpus_are_divided() -> None:
    assert [s["EMBLEM_THREADS"] for s in shares(3, 8, [])] == ["2", "2", "2"]
    assert [s["EMBLEM_THREADS"] for s in shares(4, 2, [])] == ["1"] * 4
    assert "CUDA_VISIBLE_DEVICES" not in shares(1, 8, [])[0]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in shares(3, 8, ["0", "1"])] == ["0", "1", "0"]


def test_a_grid_is_run_once_and_only_once(repository: Path) -> None:
    done = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert done.returncode == 0, done.stderr
    names = experiments(repository)
    assert len(names) == 4
    assert all(re.fullmatch(r"grid-[0-9a-f]{12}", name) for name in names)
    assert len(started(repository, "finetune")) == 4
    assert len(started(repository, "caption")) == 1, "what the experiments share was made more than once"
    assert {row[1] for row in started(repository, "finetune")} == {"1"}, "two cores for two workers"

    again = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert again.returncode == 0, again.stderr
    assert len(started(repository, "finetune")) == 4
    assert "4 finished" in grid(repository, "status").stdout

    values = set()
    for name in names:
        shown = read_git(repository, "show", f"{name_to_ref(repository, name)}:metrics/epochs/lora.json")
        values.add(json.loads(shown)[0]["rank"])
    assert values == {4, 8}

    # One value more: only what is new runs.
    params = repository / "params.yaml"
    params.write_text(params.read_text().replace("unet_lr: [5e-6, 0.002]", "unet_lr: [5e-6, 0.002, 0.004]"))
    more = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert more.returncode == 0, more.stderr
    assert len(started(repository, "finetune")) == 6
    assert "6 finished" in grid(repository, "status").stdout


def name_to_ref(repository: Path, name: str) -> str:
    refs = read_git(repository, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return next(ref for ref in refs if ref.endswith(f"/{name}"))


def read_git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout


def test_killed_workers_lose_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed while the grid runs; then the grid itself and all workers; then it is started again."""
    monkeypatch.setenv("GRID_TEST_SECONDS", "3")
    first = start(repository)
    wait_for(lambda: len(started(repository, "finetune")) >= 2 and len(started(repository, "step")) >= 4)
    workers(repository)[0].kill()
    wait_for(lambda: len(started(repository, "finetune")) >= 4)
    kill_all(repository, first)

    second = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert second.returncode == 0, second.stderr
    assert len(experiments(repository)) == 4
    assert "4 finished" in grid(repository, "status").stdout
    nothing_is_left_over(repository)
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    assert len(steps) == len(set(steps)), "a killed training began anew, though its state was there to resume from"


@pytest.mark.slow
def test_eight_experiments_none_lost_none_twice_and_a_whole_leaderboard(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 2 x 2 x 2 grid with one worker, killed -9 in the middle along with the grid; then the same command again."""
    params = repository / "params.yaml"
    params.write_text(params.read_text().replace("text_encoder_lr: [0.001]", "text_encoder_lr: [0.001, 0.003]"))
    subprocess.run(["git", "commit", "-qam", "2 x 2 x 2"], cwd=repository, check=True)
    monkeypatch.setenv("GRID_TEST_SECONDS", "2")
    first = start(repository, jobs=1)
    wait_for(lambda: len(started(repository, "finetune")) >= 4, 300)
    kill_all(repository, first)
    done_before = len(experiments(repository))
    assert 1 <= done_before < 8

    second = grid(repository, "run", "-j", "1", seconds=600)
    assert second.returncode == 0, second.stderr
    names = experiments(repository)
    assert len(names) == len(set(names)) == 8
    assert "8 finished" in grid(repository, "status").stdout
    nothing_is_left_over(repository)
    assert len(started(repository, "finetune")) <= 8 + 1, "what was finished, or never begun, was begun twice"
    with (repository / "metrics/leaderboard/table3.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["experiment"] for row in rows} == set(names)
    settings = {(row["unet_lr"], row["text_encoder_lr"], row["rank"]) for row in rows}
    assert len(rows) == 16, "two checkpoints of each experiment"
    assert settings == set(itertools.product(("5e-06", "0.002"), ("0.001", "0.003"), ("4", "8")))


def start(repository: Path, jobs: int = 2) -> subprocess.Popen[str]:
    """Start the grid, and return when its first stage has written to the log."""
    command = [sys.executable, "-m", "experiments.grid", "run", "-j", str(jobs), "--no-leaderboard"]
    process = subprocess.Popen(command, cwd=repository, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: (repository.parent / "log.jsonl").exists())
    return process


def kill_all(repository: Path, command: subprocess.Popen[str]) -> None:
    """Kill the command and its workers; what the workers started goes on without them, as after a real kill."""
    command.send_signal(signal.SIGKILL)
    command.wait()
    for worker in workers(repository):
        worker.kill()


def nothing_is_left_over(repository: Path) -> None:
    assert not list((repository / ".dvc/tmp/exps").glob("tmp*")), "checkouts of killed experiments are still there"
    status = subprocess.run(["dvc", "queue", "status"], cwd=repository, capture_output=True, text=True, check=True)
    assert "Running" not in status.stdout


def test_a_checkout_borrows_git_s_objects_and_its_experiment_outlives_it(repository: Path) -> None:
    """What is not copied must not be missed: each object of the experiments is in the repository when they are done."""
    (repository / "large.bin").write_bytes(os.urandom(3_000_000))
    for command in ("dvc repro -q caption", "git add large.bin dvc.lock", "git commit -qm large"):
        subprocess.run(command.split(), cwd=repository, check=True)
    done = grid(repository, "run", "-j", "1", "--no-leaderboard")
    assert done.returncode == 0, done.stderr
    assert not list((repository / ".dvc/tmp/exps").glob("tmp*"))
    subprocess.run(["git", "fsck", "--full", "--strict"], cwd=repository, check=True, capture_output=True)
    assert len(started(repository, "caption")) == 1
    name = experiments(repository)[0]
    read_git(repository, "clone", "-q", str(repository), str(repository.parent / "other"))
    read_git(repository.parent / "other", "fetch", "-q", "origin", name_to_ref(repository, name))
    assert "rank" in read_git(repository.parent / "other", "show", "FETCH_HEAD:metrics/epochs/lora.json")


def test_lending_copies_nothing(repository: Path, tmp_path: Path) -> None:
    from dulwich.repo import Repo as Git

    checkout = tmp_path / "checkout"
    checkout.mkdir()
    Git.init(str(checkout)).close()
    branch = read_git(repository, "symbolic-ref", "HEAD").strip()
    lend_objects(SimpleNamespace(root_dir=str(repository)), checkout, [(branch, "refs/x/y")])
    assert not [path for path in (checkout / ".git/objects").rglob("*") if path.is_file() and path.name != "alternates"]
    assert read_git(checkout, "rev-parse", "refs/x/y") == read_git(repository, "rev-parse", "HEAD")
    assert "stages:" in read_git(checkout, "show", "refs/x/y:dvc.yaml")


def wait_for(condition: object, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_a_failed_experiment_is_named_and_tried_again_by_the_next_run(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRID_TEST_FAIL", "yes")
    done = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert done.returncode == 1
    assert "2 of 4 experiments failed" in done.stderr.splitlines()[-1]
    assert "dvc queue logs grid-" in done.stderr.splitlines()[-1]
    assert len(experiments(repository)) == 2
    monkeypatch.delenv("GRID_TEST_FAIL")
    for worker in workers(repository):  # they have the old environment
        worker.kill()
    again = grid(repository, "run", "-j", "2", "--no-leaderboard")
    assert again.returncode == 0, again.stderr
    assert len(experiments(repository)) == 4


def test_two_grids_at_once_are_refused(repository: Path) -> None:
    import fcntl

    (repository / ".emblem").mkdir()
    with (repository / ".emblem/grid.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = grid(repository, "run")
    assert done.returncode == 1
    assert done.stderr == "error: another `python -m experiments.grid` is at work in this repository\n"


def test_the_repository_is_as_it_was(repository: Path) -> None:
    shutil.rmtree(repository / "data")
    subprocess.run(["git", "checkout", "-q", "data"], cwd=repository, check=True)
    assert grid(repository, "queue").returncode == 0
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    assert "params.yaml" not in status
