"""Does a race name the winner that the exhaustive grid names, and what does it save?

    python -m experiments.grid run --exhaustive --method lora
    python -m benchmarks.race --method lora

Reads   the experiments of params.yaml's grid, each trained in full, and their scored pictures from DVC's cache.
Writes  to the terminal: a row a rung, the winners of both, and their paired difference.

The checkpoints of a race are the first ones of the whole trainings, its pictures those of the first seeds, to the byte.
So it is replayed on what the exhaustive grid has drawn: nothing is trained or drawn for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from experiments.grid.plan import Model, Planner, full, grid_models
from experiments.grid.race import Cost, Standing, climbers, step_cost
from experiments.outputs import Outputs
from stages.common.checkpoints import by_epoch, compare, summarise
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import METHODS, Method, Params, Rung, load_params
from stages.common.revisions import find_experiments
from stages.common.tables import Row


def read_pictures(params: Params, models: Sequence[Model]) -> dict[Model, list[Row]]:
    """The scored pictures of each model's whole training. Raises UserError where one is missing."""
    planner, commits = Planner(params), {found.name: found.commit for found in find_experiments()}
    pictures = {}
    for model in models:
        name = planner.task(model, full(params, model)).name
        if name not in commits:
            raise UserError(f"{name} ({model}) is not finished: `python -m experiments.grid run --exhaustive` runs it")
        lines = Outputs(commits[name]).read(f"data/scores/{model.method}.jsonl").decode().splitlines()
        pictures[model] = list(map(json.loads, lines))
    return pictures


def standing(model: Model, pictures: Sequence[Row], rung: Rung, params: Params) -> Standing:
    """Where a model stands on a rung, by the pictures that it has there."""
    there = [row for row in pictures if row["epoch"] <= rung.epochs and row["seed_index"] < rung.images_per_prompt]
    options = {"confidence": params.score.confidence_level, "samples": params.score.bootstrap_samples}
    found = {epoch: summarise(rows, seed=params.seed, **options) for epoch, rows in by_epoch(there).items()}  # type: ignore[arg-type]
    standings = [Standing(model, epoch, numbers) for epoch, numbers in found.items() if epoch > 0]
    return max(standings, key=lambda one: (*one.key(params.race.by), -one.epoch))


def replay(params: Params, pictures: Mapping[Model, Sequence[Row]]) -> tuple[Standing, Cost]:
    """The winner of a race, and what it takes; a line a rung on the terminal."""
    climbing, cost, before, best = list(pictures), Cost(), None, None
    for level, rung in enumerate(params.race.rungs):
        standings = [standing(model, pictures[model], rung, params) for model in climbing]
        for model in climbing:
            cost += step_cost(params, model, before, rung)
        best = max(standings, key=lambda one: one.key(params.race.by))
        click.echo(
            f"| {rung.epochs} | {rung.images_per_prompt} | {len(climbing)} | {best.model}, epoch {best.epoch} "
            f"| {best.numbers[params.race.by]:.3f} |"
        )
        if level < len(params.race.keep):
            climbing, before = climbers(standings, params.race, level), rung
    assert best is not None
    return best, cost


def report(method: Method) -> None:
    """Replay the race of a method's grid and compare its winner with the exhaustive grid's."""
    params = load_params()
    models = grid_models(params, [method])[method]
    pictures = read_pictures(params, models)
    click.echo("| epochs | pictures a prompt | models | leader | " + params.race.by + " |\n|---|---|---|---|---|")
    raced, cost = replay(params, pictures)
    whole = [standing(model, pictures[model], full(params, model), params) for model in models]
    best = max(whole, key=lambda one: one.key(params.race.by))
    everything = Cost()
    for model in models:
        everything += step_cost(params, model, None, full(params, model))
    click.echo(f"\nexhaustive: {best.model}, epoch {best.epoch}: {best.numbers[params.race.by]:.3f}")
    shares = cost.epochs / everything.epochs, cost.pictures / everything.pictures
    click.echo(f"race: {shares[0]:.0%} of the epochs, {shares[1]:.0%} of the pictures")
    if (raced.model, raced.epoch) == (best.model, best.epoch):
        click.echo("the same winner")
        return
    difference = compare(
        [row for row in pictures[raced.model] if row["epoch"] == raced.epoch],
        [row for row in pictures[best.model] if row["epoch"] == best.epoch],
        confidence=params.score.confidence_level,
        samples=params.score.bootstrap_samples,
        seed=params.seed,
    )
    assert difference is not None
    click.echo(
        f"race less exhaustive: {difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}), "
        f"{difference.verdict}"
    )


@click.command()
@click.option("--method", type=click.Choice(METHODS), default="lora", show_default=True)
def main(method: Method) -> None:
    """Replay the race of a method's grid on its exhaustive results."""
    stage_main(lambda: report(method))()


if __name__ == "__main__":
    main()
