"""The paper's grid of experiments (Table 1), through DVC's own experiments and queue.

    python -m experiments.grid queue        queue what is missing of params.yaml's `grid:`
    python -m experiments.grid run -j 4     the same, then work it off with four workers and write the leaderboard
    python -m experiments.grid status       what is finished, running, queued, failed or missing

Reads   params.yaml (`grid:`), dvc.yaml. Writes DVC experiments, and by experiments.leaderboard metrics/leaderboard/.

An experiment is `dvc exp run --queue -s -S finetune.lora.unet_lr=... finetune@lora sample@lora score@lora`, named by a
digest of everything that decides its numbers: parameters, code and inputs. One that is finished is never run again; one
whose parameters or code changed has another name. What the experiments share (crawl, captions, detector) is made once,
before, and not looked at again. The workers are `dvc queue start`'s; they share the cores evenly, and a GPU where there
is one. They outlive this command; a second `run` finds them at work.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from experiments.dvc_queue import Task, call_dvc, clear_lost, finished, put, read_queue, work_off
from experiments.leaderboard import OUT, leaderboard
from experiments.results import parse_yaml
from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.common.progress import progress
from stages.common.revisions import git
from stages.common.scratch import digest

METHOD = "lora"
TARGET = "score"
"""The stage of dvc.yaml that an experiment ends with."""
PIPELINE = Path("dvc.yaml")
LOCK = Path(".emblem/grid.lock")

# --- The plan ------------------------------------------------------------------------------------------------------


def plan(params: Params, pipeline: Path = PIPELINE) -> list[Task]:
    """Every experiment of the grid, in the order of params.yaml. Raises UserError where params.yaml leaves LoRA out."""
    if METHOD not in params.methods:
        raise UserError(f"finetune.{METHOD}.epochs = 0 leaves out the method that the grid is of")
    stages, grid, tasks = read_stages(pipeline), params.grid, []
    shared = shared_digest(params, stages)
    targets = tuple(f"{name}@{METHOD}" for name, stage in stages.items() if "matrix" in stage)
    for unet_lr, text_encoder_lr, rank in itertools.product(grid.unet_lr, grid.text_encoder_lr, grid.rank):
        settings = (
            ("finetune.lora.unet_lr", float(unet_lr)),
            ("finetune.lora.text_encoder_lr", float(text_encoder_lr)),
            ("finetune.lora.rank", rank),
            ("finetune.lora.alpha", float(rank * grid.alpha_per_rank)),
        )
        tasks.append(Task(f"grid-{digest(shared, settings)[:12]}", settings, targets))
    return list(dict.fromkeys(tasks))


def shared_digest(params: Params, stages: Mapping[str, Any]) -> str:
    """A digest of what all experiments have in common: their other parameters, and the code and data in git."""
    content = params.model_dump(exclude={"grid", "report"})
    content["finetune"] = {METHOD: content["finetune"][METHOD]}
    for name in ("unet_lr", "text_encoder_lr", "rank", "alpha"):
        del content["finetune"][METHOD][name]
    run = {name: {key: value for key, value in stage.items() if key != "desc"} for name, stage in stages.items()}
    return digest(content, run, [(path.as_posix(), digest(path)) for path in sources(stages) if path.exists()])


def read_stages(pipeline: Path) -> dict[str, Any]:
    """The stages of dvc.yaml that the method's scores depend on, as the method has them."""
    stages = parse_yaml(pipeline.read_text(encoding="utf-8").replace("${item.method}", METHOD))["stages"]
    needed, waiting = set(), [TARGET]
    while waiting:
        needed.add(name := waiting.pop())
        deps = stages[name].get("deps", [])
        waiting += [other for other in stages.keys() - needed if any(is_made(dep, stages[other]) for dep in deps)]
    return {name: stage for name, stage in stages.items() if name in needed}


def sources(stages: Mapping[str, Any]) -> list[Path]:
    """What the stages read that none of them makes: code, data, and files of parameters beside params.yaml."""
    read = {dep for stage in stages.values() for dep in stage.get("deps", [])}
    for stage in stages.values():
        read.update(*(entry for entry in stage.get("params", []) if isinstance(entry, Mapping)))
    return [Path(path) for path in sorted(read) if not any(is_made(path, stage) for stage in stages.values())]


def is_made(path: str, stage: Mapping[str, Any]) -> bool:
    """Whether a stage of dvc.yaml writes a path, or a folder that it is in."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    made = [next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries]
    return any(path == output or path.startswith(f"{output}/") for output in made)


# --- The steps -----------------------------------------------------------------------------------------------------


def queue_missing(tasks: Sequence[Task]) -> list[Task]:
    """Queue every experiment that is neither finished nor in work; returns those queued."""
    queue, done = clear_lost(tasks), finished(tasks)
    busy = {task.name for task in queue.those(tasks, "Running", "Queued")}
    missing = [task for task in tasks if task.name not in done | busy]
    if missing:
        make_shared_stages()
        put(missing, queue.states)
    return missing


def make_shared_stages(pipeline: Path = PIPELINE) -> None:
    """Run the stages before the fine-tuning once, here: else every worker would run them for itself.

    Raises UserError where one fails, or where git does not know what an experiment's checkout needs.
    """
    stages = read_stages(pipeline)
    shared = [name for name, stage in stages.items() if "matrix" not in stage]
    if shared and call_dvc("repro", "--quiet", *shared).returncode:
        raise UserError(f"dvc repro {' '.join(shared)} failed: the experiments need what these stages make")
    needed = [str(path) for path in (pipeline, pipeline.with_suffix(".lock"), *sources(stages))]
    if unknown := git("ls-files", "--others", "--exclude-standard", "--", *needed).splitlines():
        raise UserError(f"{', '.join(unknown)}: not in git, so no experiment would see it: git add it first")


@contextmanager
def alone() -> Iterator[None]:
    """Within it, no other grid is at work in this repository. Raises UserError where one is."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError("another `python -m experiments.grid` is at work in this repository") from None
    try:
        yield
    finally:
        os.close(lock)


def state_of(tasks: Sequence[Task]) -> list[tuple[Task, str]]:
    """Each experiment with "finished", "running", "queued", "failed" or "missing"."""
    states, done = read_queue().states, finished(tasks)
    words = {"Running": "running", "Queued": "queued", "Failed": "failed"}
    return [(t, "finished" if t.name in done else words.get(states.get(t.name, ""), "missing")) for t in tasks]


# --- The commands --------------------------------------------------------------------------------------------------


@click.group(help=__doc__)
def main() -> None:
    """The grid of experiments."""


@main.command("queue")
def queue_command() -> None:
    """Queue the experiments of the grid that are missing."""

    @stage_main
    def run() -> None:
        tasks = plan(load_params())
        with alone():
            queued = queue_missing(tasks)
        click.echo(f"{len(queued)} of {len(tasks)} experiments queued; `python -m experiments.grid run` works them off")

    run()


@main.command("run")
@click.option("-j", "--jobs", type=click.IntRange(1), help="experiments at a time  [default: half the cores]")
@click.option("--leaderboard/--no-leaderboard", "ranked", default=True, show_default=True, help="rank the checkpoints")
def run_command(jobs: int | None, ranked: bool) -> None:
    """Run the experiments of the grid that are missing, then write the leaderboard."""

    @stage_main
    def run() -> None:
        tasks = plan(load_params())
        with alone():
            try:
                queue_missing(tasks)
                names = work_off(tasks, jobs or max(1, threads() // 2))
                for _ in progress(names, "grid", total=len(tasks), unit="experiment"):
                    pass
            except KeyboardInterrupt:
                raise UserError(
                    "interrupted; the workers go on: the same command watches them, dvc queue stop --kill ends them"
                ) from None
        if ranked:
            leaderboard([task.name for task in tasks], method=METHOD)
            click.echo(f"open {OUT / 'index.html'}")

    run()


@main.command("status")
def status_command() -> None:
    """Say how far the grid is."""

    @stage_main
    def run() -> None:
        states = state_of(plan(load_params()))
        for task, state in states:
            shown = "  ".join(f"{key.rsplit('.', 1)[1]}={value:g}" for key, value in task.settings)
            click.echo(f"{task.name}  {state:8}  {shown}")
        counted = Counter(state for _, state in states)
        click.echo(", ".join(f"{count} {state}" for state, count in sorted(counted.items())))

    run()


if __name__ == "__main__":
    main()
