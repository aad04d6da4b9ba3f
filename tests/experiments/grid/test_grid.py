"""The grid runs on Ray: nothing twice, nothing lost, and the workspace as it was."""

from __future__ import annotations

import fcntl
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.grid.plan import Planner, full, grid_models
from experiments.grid.workspace import read_workspace
from stages.common.errors import UserError
from stages.common.params import load_params
from tests.grid_repository import experiments, grid, params_with, run, started, wait_for, wait_until_nothing_is_at_work

ROOT = Path(__file__).parents[3]


def test_a_grid_runs_and_what_is_finished_is_not_run_again(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One experiment fails, the other finishes; once more the same command runs the one that failed, and no other."""
    run(repository, "dvc", "repro", "-q", "--glob", "score@*")
    run(repository, "git", "add", ".")
    run(repository, "git", "commit", "-qm", "run")
    before = run(repository, "git", "status", "--porcelain", "--ignored")
    begun = len(started(repository, "finetune"))
    monkeypatch.setenv("GRID_TEST_FAIL", "yes")
    failed = grid(repository, "run")
    assert failed.returncode == 1
    said = failed.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: 1 of 2 experiments failed \((grid-\w+)\): .emblem/grid/\1.log says why, .*", said), (
        said
    )
    (first,) = experiments(repository)
    assert "1 failed, 1 finished" in grid(repository, "status").stdout
    assert len(started(repository, "finetune")) == begun + 2
    monkeypatch.delenv("GRID_TEST_FAIL")
    last = grid(repository, "run")
    assert last.returncode == 0, last.stderr
    assert len(started(repository, "finetune")) == begun + 3, "what was finished was run again"
    assert len(started(repository, "caption")) == 1, "what the experiments share was made more than once"
    names = experiments(repository)
    assert len(names) == 2
    assert first in names
    assert all(re.fullmatch(r"grid-[0-9a-f]{12}", name) for name in names)
    assert {row[1] for row in started(repository, "finetune")[begun:]} == {"1"}, "two cores for two experiments"
    assert grid(repository, "names").stdout.split() == sorted(names, key=grid(repository, "names").stdout.index)
    new = set(run(repository, "git", "status", "--porcelain", "--ignored").splitlines()) - set(before.splitlines())
    assert new <= {"!! .emblem/"}, "nothing else of the workspace was touched"
    assert all(name in run(repository, "dvc", "exp", "show", "--csv") for name in names)
    run(repository, "dvc", "exp", "apply", names[0])
    assert f"save_every: {3}" in (repository / "params.yaml").read_text()


def test_a_race_climbs_and_names_the_winner(repository: Path) -> None:
    """Six models: three may train on, of which one is surely worse than the first, and one to the end.

    Training goes on from its state, and the exhaustive grid agrees.
    """
    (repository / "params.yaml").write_text(params_with("[2, 4, 8, 16, 32, 64]", smallest=2))
    (repository / "work.py").write_text((repository / "work.py").read_text() + "# changed, and not committed\n")
    raced = grid(repository, "run")
    assert raced.returncode == 0, raced.stderr
    assert "lora: 6 models (9 epochs x 1, 18 epochs x 2, 30 epochs x 8), at most 93 epochs (52% of all)" in raced.stdout
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    assert len(steps) == len(set(steps)) == 6 * 9 + 2 * 9 + 12, "an epoch was trained twice"
    lines = [line for line in grid(repository, "status").stdout.splitlines() if line.startswith("grid-")]
    assert [line.split("  ")[-1].split("rank=")[1].split()[0] for line in lines[6:]] == ["64", "32", "64"]
    whole = grid(repository, "run", "--exhaustive")
    assert whole.returncode == 0, whole.stderr
    assert len(experiments(repository)) == 6 + 2 + 1 + 5, "the winner's was there already"
    assert run(repository, "git", "diff", "--stat").splitlines()[-1].startswith(" 2 files changed")
    commits = run(repository, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/grid-*").split()
    assert all("# changed" in run(repository, "git", "show", f"{commit}:work.py") for commit in commits)


def heed_ctrl_c() -> None:
    """In a child: have Ctrl-C end it, though these tests may run in the background, where it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_grid_leaves_the_workspace_and_goes_on(
    repository: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("GRID_TEST_SECONDS", "3")
    before = run(repository, "git", "status", "--porcelain")
    command = [sys.executable, "-m", "experiments.grid", "run"]
    stopped = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    wait_for(lambda: len(started(repository, "step")) >= 3)
    stopped.send_signal(number)
    began = time.monotonic()
    _, said = stopped.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert time.monotonic() - began < 10
    if number == signal.SIGINT:
        assert stopped.returncode == 130
        assert "the same command goes on" in said
    wait_until_nothing_is_at_work(repository, agents=False)
    assert run(repository, "git", "status", "--porcelain") == before
    monkeypatch.setenv("GRID_TEST_SECONDS", "0")
    last = grid(repository, "run")
    assert last.returncode == 0, last.stderr
    assert len(experiments(repository)) == 2
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    assert len(steps) == len(set(steps)) == 2 * 30, "a killed training began anew, though its state was there"


@pytest.mark.slow
def test_twenty_kills_at_random_moments(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "params.yaml").write_text(params_with("[1, 2, 3, 4, 5, 6, 7, 8]", smallest=9))
    before = run(repository, "git", "status", "--porcelain")
    monkeypatch.setenv("GRID_TEST_SECONDS", "6")
    chance = random.Random(20)
    for _ in range(20):
        work = subprocess.Popen([sys.executable, "-m", "experiments.grid", "run"], cwd=repository)
        time.sleep(chance.uniform(0, 25))
        work.send_signal(chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
        work.wait(timeout=60)
        wait_until_nothing_is_at_work(repository, agents=False)
        assert run(repository, "git", "status", "--porcelain") == before
        assert not list((repository / ".git").rglob("*.lock"))
    monkeypatch.setenv("GRID_TEST_SECONDS", "0")
    last = grid(repository, "run")
    assert last.returncode == 0, last.stderr
    assert len(experiments(repository)) == 8
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    # a kill between a step's state and its line in the log may lose the line, never the step
    assert len(steps) == len(set(steps)) <= 8 * 30


# --- What is planned -------------------------------------------------------------------------------------------------


def test_the_paper_s_grid_is_134_experiments() -> None:
    params = load_params(ROOT / "params.yaml")
    planner, models = Planner(params, ROOT / "dvc.yaml"), grid_models(params)
    assert {method: len(found) for method, found in models.items()} == {
        "dreambooth": 3,
        "textual_inversion": 6,
        "lora": 125,
    }
    tasks = [planner.task(model, full(params, model)) for found in models.values() for model in found]
    assert len({task.name for task in tasks}) == 134
    assert {task.targets for task in tasks if task.model.method == "lora"} == {
        ("finetune@lora", "sample@lora", "score@lora")
    }


def test_names_follow_what_decides_the_numbers(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)

    def names() -> list[str]:
        params = load_params()
        return [Planner(params).task(model, full(params, model)).name for model in grid_models(params)["lora"]]

    first, texts = names(), {path: path.read_text() for path in map(Path, ("params.yaml", "work.py", "versions.yaml"))}
    params = texts[Path("params.yaml")]
    assert names() == first
    for same in (("top: 3", "top: 2"), ("num_vectors: 2", "num_vectors: 1"), ("rank: [4, 8]", "rank: [8, 4]")):
        assert same[0] in params
        Path("params.yaml").write_text(params.replace(*same))
        assert sorted(names()) == sorted(first), same
    for other in (("seed: 20", "seed: 21"), ("threshold: 0.70", "threshold: 0.80"), ("_prompt: 8 ", "_prompt: 7 ")):
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


def test_small_learning_rates_words_and_switches_reach_the_experiment() -> None:
    params = load_params(ROOT / "params.yaml")
    lists = {"unet_lr": [5e-6], "rank": [8], "lr_scheduler": ["constant"], "convolutions": [False], "alpha": ["rank"]}
    params = params.model_copy(update={"grid": params.grid.model_copy(update={"lora": lists})})
    (model,) = grid_models(params, ["lora"])["lora"]
    assert Planner(params, ROOT / "dvc.yaml").task(model, params.race.rungs[1]).settings == (
        "finetune.lora.unet_lr=5e-06",
        "finetune.lora.rank=8",
        "finetune.lora.lr_scheduler=constant",
        "finetune.lora.convolutions=false",
        "finetune.lora.alpha=rank",
        "finetune.lora.stop_after=18",
        "sample.images_per_prompt=2",
    )


def test_a_grid_of_a_method_that_is_left_out_is_refused() -> None:
    params = load_params(ROOT / "params.yaml").changed("finetune.lora", epochs=0)
    with pytest.raises(UserError, match=r"finetune\.lora\.epochs = 0"):
        grid_models(params)


# --- What is refused -------------------------------------------------------------------------------------------------


def test_code_that_git_does_not_know_is_named(repository: Path) -> None:
    pipeline = repository / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace('"${item.method}.py"', '"${item.method}.py", new.py'))
    (repository / "new.py").touch()
    done = grid(repository, "run")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "error: new.py: not in git, so no experiment would see it: git add it first",
    )


def test_what_other_machines_would_miss_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)

    def refusal() -> str:
        with pytest.raises(UserError) as error:
            read_workspace(Planner(load_params()), ["lora"], by_path=False)
        return str(error.value)

    assert refusal() == "no git remote named origin: other machines have nothing to clone from"
    run(repository, "git", "init", "-q", "--bare", str(repository.parent / "origin"))
    run(repository, "git", "remote", "add", "origin", str(repository.parent / "origin"))
    assert re.fullmatch(r"commit \w{10} is not pushed, and other machines would miss it: git push it first", refusal())
    run(repository, "git", "push", "-q", "origin", "HEAD:main")
    assert refusal() == "no default DVC remote in .dvc/config: other machines could not hand over what they make"
    Path("work.py").write_text(Path("work.py").read_text() + "# changed\n")
    assert refusal() == "work.py: changed, and other machines would miss it: commit and push it first"


def test_two_grids_at_once_are_refused(repository: Path) -> None:
    (repository / ".emblem/grid").mkdir(parents=True)
    with (repository / ".emblem/grid/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = grid(repository, "run")
    assert done.returncode == 1
    assert done.stderr == "error: another `python -m experiments.grid run` is at work in this repository\n"
