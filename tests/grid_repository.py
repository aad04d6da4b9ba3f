"""A repository whose stages take no time and write down what they do, and what tests ask of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIPELINE = """
stages:
  caption:
    cmd: python work.py caption
    deps: [work.py]
    outs: [data/captioned.txt]
  finetune:
    matrix: {method: [dreambooth, textual_inversion, lora]}
    cmd: python work.py finetune ${item.method}
    deps: [data/captioned.txt, work.py, "${item.method}.py"]
    params: ["finetune.${item.method}", versions.yaml: [torch]]
    outs: ["models/${item.method}.txt"]
  score:
    matrix: {method: [dreambooth, textual_inversion, lora]}
    cmd: python work.py score ${item.method}
    deps: ["models/${item.method}.txt", work.py]
    params: [sample.images_per_prompt]
    metrics:
      - metrics/epochs/${item.method}.json: {cache: false}
  report:
    cmd: python report.py
    deps: [metrics/epochs/lora.json, metrics/epochs/dreambooth.json, report.py]
"""
WORK = """
import json, os, pathlib, sys, time
import ruamel.yaml
stage, method = (sys.argv[1:] + [""])[:2]
log = os.environ["GRID_TEST_LOG"]
def write(*row):
    with open(log, "a") as file:
        file.write(json.dumps(row) + "\\n")
params = ruamel.yaml.YAML(typ="safe").load(open("params.yaml"))
write(stage, os.environ.get("EMBLEM_THREADS"))
if stage == "caption":
    time.sleep(float(os.environ.get("GRID_TEST_SECONDS", "0")))
    pathlib.Path("data/captioned.txt").write_text("captions")
if stage == "finetune":
    from stages.common.files import write_file
    from stages.common.scratch import digest, scratch_folder
    settings = params["finetune"][method]
    if os.environ.get("GRID_TEST_FAIL") and settings.get("rank") == 8:
        sys.exit("no")
    last = settings.pop("stop_after") or settings["epochs"]
    state = scratch_folder("finetune", digest(method, settings)) / "steps"
    for step in range(int(state.read_text()) if state.exists() else 0, last):
        time.sleep(float(os.environ.get("GRID_TEST_SECONDS", "0")) / 30)
        write_file(state, str(step + 1))
        write("step", digest(method, settings), step)
    pathlib.Path("models").mkdir(exist_ok=True)
    pathlib.Path("models", method + ".txt").write_text(json.dumps({**settings, "last": last}))
if stage == "score":
    settings = json.loads(pathlib.Path("models", method + ".txt").read_text())
    pathlib.Path("metrics/epochs").mkdir(parents=True, exist_ok=True)
    good = settings.get("rank", 1) / 64
    rows = [{"epoch": epoch, "mean": good * epoch / 30, "mean_low": good * epoch / 30 - 0.1,
             "mean_high": good * epoch / 30 + 0.1, "mean_od": good, "mean_ocr": good, "edit_distance": 0.5,
             "images": 6 * params["sample"]["images_per_prompt"]}
            for epoch in range(settings["save_every"], settings["last"] + 1, settings["save_every"])]
    pathlib.Path("metrics/epochs", method + ".json").write_text(json.dumps([{"epoch": 0, "mean": 0}] + rows))
"""


def params_with(rank: str, smallest: int = 8) -> str:
    """The real params.yaml with a small grid of LoRAs."""
    text = (ROOT / "params.yaml").read_text()
    grid = (
        "grid:\n  dreambooth: {}\n  textual_inversion: {}\n"
        f"  lora:\n    unet_lr: [5e-6]\n    text_encoder_lr: [0.001]\n    rank: {rank}\n    save_every: [3]\n\n"
    )
    race = text[text.index("race:") :].replace("smallest: 8", f"smallest: {smallest}")
    return text[: text.index("grid:   ")] + grid + race


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


def at_work(repository: Path) -> str:
    """The processes that work in a clone of this repository, or for its cluster."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where, command = os.readlink(process / "cwd"), (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:  # it has ended
            continue
        inside = where.startswith(str(repository.parent)) or any(str(repository.parent) in part for part in command)
        if inside and int(process.name) != os.getpid():
            found.append(f"{process.name} in {where}: {' '.join(command)}")
    return "\n".join(found)


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def wait_until_nothing_is_at_work(repository: Path, agents: bool = True) -> None:
    """Wait until all that a grid has started has ended: with it, at once, or a few seconds after it was killed.

    agents: Ray's own too, which see only after half a minute or so that a killed process was their cluster's.
    """
    end = time.monotonic() + (90 if agents else 15)
    while left := [line for line in at_work(repository).splitlines() if agents or "Agent" not in line]:
        assert time.monotonic() < end, left
        time.sleep(0.1)
