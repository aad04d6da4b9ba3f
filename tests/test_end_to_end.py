"""The real dvc.yaml, at a reduced size, in a clone of its own whose path has spaces: from the crawl to the report.

One clone serves all tests of this file, in their order: run, run again, comments, force, experiment. The first run is
recorded (tests/recorder): what every stage opened and looked at is compared with what dvc.yaml says it reads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from stages.common.machine import native_bf16
from stages.common.params import METHODS, Params, Section
from stages.common.weights import read_metadata
from tests.recorder.sitecustomize import leaves
from tests.test_dag import ROOT, STAGES, paths

RECORDS = ".emblem/records"


def run(folder: Path, *command: str, check: bool = True, record: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in the clone as a user would, with the virtual environment's programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
    if record:
        environment |= {"PYTHONPATH": str(ROOT / "tests/recorder"), "EMBLEM_RECORD": str(folder / RECORDS)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", message)


def reduce(folder: Path) -> None:
    """Make the run small: a few pages, few steps, few pictures. Nothing else differs from the shipped parameters."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    params["scrape"]["start_urls"] = ["/brand/hugo/"]
    params["scrape"]["max_depth"] = 2
    params["detector"] |= {"epochs": 1, "augmentations": 0, "negative_augmentations": 0, "hard_negatives": 1}
    for method in METHODS:
        params["finetune"][method] |= {"epochs": 2, "save_every": 1}
    params["sample"] |= {
        "prompts": params["sample"]["prompts"][:2],
        "plain_prompts": params["sample"]["plain_prompts"][:1],
    }
    params["sample"] |= {"images_per_prompt": 2, "steps": 3}
    params["score"]["bootstrap_samples"] = 100
    yaml.dump(params, folder / "params.yaml")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the working tree, committed, with reduced parameters."""
    folder = tmp_path_factory.mktemp("end to end") / "a clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    run(folder, "git", "init", "--quiet")
    reduce(folder)
    commit(folder, "reduced")
    return folder


def ran(output: str) -> list[str]:
    """Names of the stages that DVC says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_one_command_runs_the_whole_dag(clone: Path) -> None:
    done = run(clone, "dvc", "repro", record=True)
    assert {f"finetune@{method}" for method in METHODS} < set(ran(done.stdout))
    assert {"sample-base", "score-base"} < set(ran(done.stdout))
    taken = "bf16" if native_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu"))[0] else "fp32"
    for key in ("detector", *(f"finetune.{method}" for method in METHODS), "sample"):
        assert f"{key}.precision = auto: {taken} (" in done.stdout + done.stderr
    for path in (clone / "models").glob("*/epoch-02/**/*.safetensors"):
        assert read_metadata(path)["precision"] == taken, path
    page = (clone / "metrics/report/index.html").read_text()
    for method in METHODS:
        scores = json.loads((clone / f"metrics/score/{method}.json").read_text())
        details = json.loads((clone / f"metrics/details/{method}.json").read_text())
        assert details["images"] == 4
        assert {key: details[key] for key in scores} == scores
        epochs = json.loads((clone / f"metrics/epochs/{method}.json").read_text())
        assert [row["epoch"] for row in epochs] == [0, 1, 2]
        assert 0 <= scores["mean_ocr"] <= 1
        assert method in page
        losses = (clone / f"metrics/finetune/{method}/plots/metrics/loss.tsv").read_text().splitlines()
        assert len(losses) == 1 + 2
    verdict = json.loads((clone / "metrics/verdict.json").read_text())
    card = (clone / "models/shipped/README.md").read_text()
    assert (f"epoch {verdict['ship']['epoch']}" if verdict["ship"] else verdict["reason"]) in card
    commit(clone, "results")


CONDITIONAL = {
    "finetune.dreambooth.prior_guidance_scale": "prior_weight is 0",
    "finetune.dreambooth.prior_images": "prior_weight is 0",
    "finetune.dreambooth.prior_steps": "prior_weight is 0",
    "filter.detector_confidence": "matcher is sift",
    "pretrained.base_revision": "source is demo",
    "pretrained.captioner_revision": "source is demo",
    "pretrained.clip_revision": "source is demo",
    "pretrained.text_detector": "source is demo",
    **{
        f"sample.attend_and_excite.{name}": "step_size is 0"
        for name in ("share", "refine_at", "thresholds", "max_refinements", "attention_share", "sharpness")
    },
    "sample.composition.plain_weight": "mode is none",
    "sample.composition.token_weight": "mode is none",
    "scrape.allow_loopback": "the storefront is served on loopback, which needs no leave",
}
"""Declared parameters that the demo's own values leave unread, and why."""
UNREAD_FILES = {"data/brand/detector": "filter.matcher is sift", "models/pretrained/captioner": "the demo has none"}


def recorded(clone: Path) -> dict[str, dict[str, Any]]:
    """What each stage of the first run opened and looked at."""
    found = {}
    for file in sorted((clone / RECORDS).glob("*.json")):
        noted = json.loads(file.read_text())
        name = next((name for name, stage in STAGES.items() if stage["cmd"] == noted["command"]), None)
        if name is not None:
            found[name] = noted
    return found


def of_folder(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_what_it_declares_and_nothing_else(clone: Path, name: str) -> None:
    noted, stage = recorded(clone)[name], STAGES[name]
    assert noted["complete"]
    own, deps = paths(stage, "outs", "metrics", "plots"), stage["deps"]
    others = [f for f in noted["files"] if not of_folder(f, own) and not f.endswith((".partial", "/__init__.py"))]
    assert [file for file in others if not of_folder(file, deps)] == [], "read undeclared"
    data = [dep for dep in deps if not dep.startswith("stages/") and dep not in (*UNREAD_FILES, "params.yaml")]
    if name == "ship":  # of the methods' folders, the one that the verdict names
        data = [dep for dep in data if not dep.startswith("models/")]
    assert [dep for dep in data if not any(of_folder(file, [dep]) for file in others)] == [], "declared unread"

    every = leaves(Params, "", Section)
    keys = [f"{key}." for key in stage.get("params", []) if isinstance(key, str)]
    declared = {leaf for leaf in every if f"{leaf}.".startswith(tuple(keys))}
    assert {*noted["parameters"], *noted["dumped"]} - declared == set(), "looked at undeclared"
    assert declared - set(noted["parameters"]) - set(CONDITIONAL) == set(), "declared, not looked at"


COMMENTS = {
    "stages/common/params.py": ["params"],
    "stages/common/sampler_params.py": ["params"],
    "stages/common/errors.py": [],
    "stages/common/progress.py": [],
    "stages/common/command.py": [],
    "stages/common/files.py": [],
    "stages/common/scratch.py": [],
    "stages/finetune/dreambooth.py": ["finetune@dreambooth"],
    "stages/finetune/lora.py": ["finetune@lora"],
    "stages/report/charts.py": ["report"],
    "stages/measure_detector/detection_metrics.py": ["measure-detector"],
    "data/brand/captions.csv": ["caption"],
    "data/brand/keep_drop.csv": ["filter"],
    "data/brand/labels.jsonl": ["train-detector"],
    "README.md": [],
}
"""A file, and the stages that run again after a comment (or an empty line) has been appended to it."""


@pytest.mark.parametrize("file", COMMENTS)
def test_a_comment_runs_only_what_it_could_change(clone: Path, file: str) -> None:
    before = (clone / file).read_bytes()
    (clone / file).write_bytes(before + (b"# a comment\n" if file.endswith(".py") else b"\n"))
    try:
        status = json.loads(run(clone, "dvc", "status", "--json").stdout)
    finally:
        (clone / file).write_bytes(before)
    assert sorted(status) == COMMENTS[file]


def test_a_second_run_runs_nothing(clone: Path) -> None:
    assert ran(run(clone, "dvc", "repro").stdout) == []
    assert "up to date" in run(clone, "dvc", "status").stdout


def test_a_forced_run_gives_the_same_bytes(clone: Path) -> None:
    """Three stages of different kinds: a training, a sampler, a scorer. Their hashes in dvc.lock stay as they were."""
    before = (clone / "dvc.lock").read_bytes()
    shutil.rmtree(clone / ".emblem")
    done = run(
        clone, "dvc", "repro", "--force", "--single-item", "finetune@lora", "sample@lora", "score@lora", "caption"
    )
    assert len(ran(done.stdout)) == 4
    assert (clone / "dvc.lock").read_bytes() == before


def test_an_experiment_runs_its_own_branch_only(clone: Path) -> None:
    done = run(
        clone, "dvc", "exp", "run", "-S", "finetune.lora.rank=8", "-S", "finetune.lora.unet_lr=5e-6", "score@lora"
    )
    assert ran(done.stdout) == ["finetune@lora", "sample@lora", "score@lora"]
    changed = run(clone, "dvc", "params", "diff", "--json").stdout
    assert json.loads(changed)["params.yaml"]["finetune.lora.rank"]["new"] == 8
    assert json.loads(changed)["params.yaml"]["finetune.lora.unet_lr"]["new"] == 5e-6
    difference = json.loads(run(clone, "dvc", "metrics", "diff", "--all", "--json").stdout)
    assert "metrics/score/lora.json" in difference
    shown = run(clone, "dvc", "exp", "show", "--csv").stdout
    assert "finetune.lora.rank" in shown


def test_a_mistake_in_the_parameters_stops_before_anything_is_done(clone: Path) -> None:
    run(clone, "git", "reset", "--hard", "--quiet")
    params = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(params.replace("    rank:", "    rnak:"))
    before = run(clone, "git", "status", "--porcelain").stdout
    done = run(clone, "dvc", "repro", check=False)
    assert done.returncode != 0
    assert "finetune.lora.rnak" in done.stderr
    assert run(clone, "git", "status", "--porcelain").stdout == before
    assert (clone / "models/lora/epoch-02").is_dir()
