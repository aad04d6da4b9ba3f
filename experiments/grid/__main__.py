"""The grid of experiments (the paper's search): every combination of `grid:` in params.yaml, raced or in full, on Ray.

    python -m experiments.grid run                       race the grid's models on this machine
    python -m experiments.grid run --exhaustive          train every model to its end
    python -m experiments.grid run --address HOST:6379   the same on every node of a Ray cluster
    python -m experiments.grid cost                      what it will take
    python -m experiments.grid status                    what is finished, at work, failed or missing
    python -m experiments.grid names                     the names of the finished experiments

Reads   params.yaml (`grid:`, `race:`), dvc.yaml, and the repository at HEAD with what is changed in the workspace.
Writes  DVC experiments (refs/exps/*/grid-...) and DVC's cache; .emblem/grid/ (state, logs of failures). It touches
        nothing else: the workspace is as it was, whenever it is stopped.

An experiment is `dvc exp run -n NAME -S finetune.lora.unet_lr=... finetune@lora sample@lora score@lora` in a clone of
its own. One that is finished is never run again, so the same command goes on where another one was stopped. What all
of them share (crawl, captions, detector) is made once, before.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from stages.common.command import stage_main
from stages.common.params import METHODS, Method, load_params

if TYPE_CHECKING:
    from experiments.grid.driver import Grid

which = click.option(
    "--method", "methods", type=click.Choice(METHODS), multiple=True, help="whose grid  [default: every method's]"
)
in_full = click.option("--exhaustive", is_flag=True, help="no race: every model to its end, with all pictures")


def read_grid(methods: Sequence[Method], exhaustive: bool) -> Grid:
    """The grid of params.yaml."""
    from experiments.grid.driver import Grid
    from experiments.grid.plan import Planner, grid_models

    params = load_params()
    return Grid(Planner(params), grid_models(params, methods or METHODS), exhaustive)


def announce(grid: Grid) -> None:
    """Say what the grid takes."""
    from experiments.grid.race import planned_cost

    full = planned_cost(grid.planner.params, grid.models, exhaustive=True)
    for method, cost in grid.planned().items():
        rungs = ", ".join(f"{rung.epochs} epochs x {rung.images_per_prompt}" for rung in grid.rungs(method))
        click.echo(
            f"{method}: {len(grid.models[method])} models ({rungs}), at most {cost.epochs} epochs "
            f"({cost.epochs / full[method].epochs:.0%} of all) and {cost.pictures} pictures "
            f"({cost.pictures / full[method].pictures:.0%})"
        )
    hours = grid.hours()
    click.echo("hours: measured when it begins" if hours is None else f"at most {hours:.1f} hours on this machine")


@click.group(help=__doc__)
def main() -> None:
    """The grid of experiments."""


@main.command("run")
@which
@in_full
@click.option("--address", default="", help="of a Ray cluster's head, HOST:PORT  [default: this machine alone]")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), help="experiments at a time on this machine  [default: one a core]"
)
@click.option("--cpus", type=click.IntRange(1), help="cores an experiment takes  [default: 1]")
@click.option(
    "--share", type=click.Choice(["path", "remote"]), help="how results come together  [default: by path here]"
)
def run_command(
    methods: tuple[Method, ...], exhaustive: bool, address: str, jobs: int | None, cpus: int | None, share: str | None
) -> None:
    """Run the experiments of the grid that are missing."""

    @stage_main
    def run() -> None:
        from experiments.grid.ray_settings import set_up_ray

        set_up_ray(address)
        from experiments.grid.driver import run_grid

        grid = read_grid(methods, exhaustive)
        announce(grid)
        with_sigterm_as_exit()
        try:
            finished = run_grid(grid, address, jobs, cpus, None if share is None else share == "path")
        except KeyboardInterrupt:
            click.echo("the same command goes on with what is missing", err=True)
            raise
        click.echo(f"{len(finished)} experiments finished: `dvc exp show` shows them, `make paper` makes the tables")

    run()


def with_sigterm_as_exit() -> None:
    """Have SIGTERM end this process as an exception does: what it started is ended, its temporary files are removed."""

    def leave(*_: object) -> None:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


@main.command("cost")
@which
@in_full
def cost_command(methods: tuple[Method, ...], exhaustive: bool) -> None:
    """Say what the grid takes."""
    stage_main(lambda: announce(read_grid(methods, exhaustive)))()


@main.command("status")
@which
@in_full
def status_command(methods: tuple[Method, ...], exhaustive: bool) -> None:
    """Say how far the grid is."""

    @stage_main
    def run() -> None:
        from experiments.grid.driver import states

        counted: Counter[str] = Counter()
        for task, state in states(read_grid(methods, exhaustive)):
            counted[state] += 1
            rung = f"{task.rung.epochs} epochs, {task.rung.images_per_prompt} a prompt"
            click.echo(f"{task.name}  {state:18}  {rung}  {task.model}")
        click.echo(", ".join(f"{count} {state}" for state, count in sorted(counted.items())))

    run()


@main.command("names")
@which
@in_full
def names_command(methods: tuple[Method, ...], exhaustive: bool) -> None:
    """Name the finished experiments, one a line."""

    @stage_main
    def run() -> None:
        from experiments.grid.driver import states

        done: Callable[[str], bool] = "finished".__eq__
        click.echo("\n".join(task.name for task, state in states(read_grid(methods, exhaustive)) if done(state)))

    run()


if __name__ == "__main__":
    main()
