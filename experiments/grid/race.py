"""Successive halving (Jamieson and Talwalkar 2016): the promising models get more epochs and more pictures.

All models of a method climb the first rung of `race.rungs`: they train up to its epoch, and few pictures are drawn of
every checkpoint. The best share of them (`race.keep`) climbs the next one, and so on. Nothing is done twice: training
goes on from its state, and drawn pictures are kept, so that a rung is judged by all pictures up to it. A model that is
surely worse than the leader, its interval below the leader's, goes no further even where it is among that share.

In a simulation of 30 candidates and 1,440 pictures, halving chose the best in 70 % of the trials, and 48 pictures for
each candidate in 49 %. Rungs of 9, 18 and 30 epochs with 1, 2 and 8 pictures a prompt, of which a half and a third
climb, take 51 % of the epochs and 23 % of the pictures of all 125 LoRA models (`python -m experiments.grid cost`).
Simulated on 12 models that rise and fall at different epochs, they chose one that is worse by 0.1 in 15 % of trials;
with 2, 4 and 8 pictures and a third climbing twice, for about the same pictures and fewer epochs, in 21 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.grid.plan import Model, Task, full
from stages.common.errors import UserError
from stages.common.params import Method, Params, Race, Rung
from stages.common.revisions import find_experiments, read_at


@dataclass(frozen=True)
class Standing:
    """A model on a rung: its best checkpoint's numbers so far."""

    model: Model
    epoch: int
    numbers: Mapping[str, Any]

    def key(self, by: str) -> tuple[float, float, float]:
        """What standings are ordered by: where `by` is equal (as where nothing is learned yet), by what is near it."""
        return (self.numbers[by], self.numbers["mean_od"], -self.numbers["edit_distance"])


def ladder(params: Params, models: Sequence[Model], exhaustive: bool) -> list[Rung]:
    """The rungs that a method's models climb: one, the whole training, where there is no race.

    Raises UserError where a rung goes beyond the training.
    """
    last = full(params, models[0])
    if exhaustive or len(models) < params.race.smallest:
        return [last]
    if params.race.rungs[-1] != last:
        raise UserError(
            f"race.rungs: the last one must be the whole training of {models[0].method}: epochs = {last.epochs}, "
            f"images_per_prompt = {last.images_per_prompt}"
        )
    return params.race.rungs


def size_of_next(count: int, keep: float) -> int:
    """How many of a rung's models climb the next one, at most."""
    return max(1, round(keep * count))


def climbers(standings: Sequence[Standing], race: Race, level: int) -> list[Model]:
    """The models that climb from a rung (from 0) to the next, the best first; of equals, the earlier of the grid."""
    ordered = sorted(standings, key=lambda standing: standing.key(race.by), reverse=True)
    floor = ordered[0].numbers.get(f"{race.by}_low", 0.0)
    chosen = ordered[: size_of_next(len(ordered), race.keep[level])]
    return [standing.model for standing in chosen if standing.numbers.get(f"{race.by}_high", 1.0) >= floor]


def read_standings(tasks: Sequence[Task], by: str, repository: Path = Path()) -> list[Standing]:
    """Where the models of finished experiments stand; those that are not finished are left out."""
    commits = {found.name: found.commit for found in find_experiments(repository)}
    standings = []
    for task in tasks:
        if task.name in commits:
            path = f"metrics/epochs/{task.model.method}.json"
            content = read_at(commits[task.name], path, repository)
            rows = [row for row in json.loads(content or "[]") if row["epoch"] > 0]
            if rows:
                best = max(rows, key=lambda row: (row[by], row["mean_od"], -row["edit_distance"], -row["epoch"]))
                standings.append(Standing(task.model, best["epoch"], best))
    return standings


@dataclass(frozen=True)
class Cost:
    """What a grid takes: experiments, epochs and pictures."""

    experiments: int = 0
    epochs: int = 0
    pictures: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.experiments + other.experiments, self.epochs + other.epochs, self.pictures + other.pictures)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.experiments - other.experiments, self.epochs - other.epochs, self.pictures - other.pictures)

    def seconds(self, method: str, pace: Mapping[str, Any]) -> float:
        """Seconds that it takes one after the other, at a pace that experiments.pace has measured."""
        training = self.epochs * float(pace["epoch"].get(method, 0.0))
        return self.experiments * float(pace["start"]) + training + self.pictures * float(pace["picture"])


def step_cost(params: Params, model: Model, before: Rung | None, rung: Rung) -> Cost:
    """What a model takes from one rung (None: from nothing) to the next."""
    save_every = params.with_model(model.method, dict(model.combination)).training(model.method).save_every
    prompts = len(params.sample.prompts) + len(params.sample.plain_prompts)

    def drawn(of: Rung | None) -> int:
        return of.epochs // save_every * prompts * of.images_per_prompt if of else 0

    return Cost(1, rung.epochs - (before.epochs if before else 0), drawn(rung) - drawn(before))


def planned_cost(params: Params, models: Mapping[Method, Sequence[Model]], exhaustive: bool) -> dict[Method, Cost]:
    """What the grid of each method takes at most."""
    costs: dict[Method, Cost] = {}
    for method, of_method in models.items():
        count, before, cost = len(of_method), None, Cost()
        for level, rung in enumerate(ladder(params, of_method, exhaustive)):
            if level:
                count = size_of_next(count, params.race.keep[level - 1])
            for model in of_method[:count]:
                cost += step_cost(params, model, before, rung)
            before = rung
        costs[method] = cost
    return costs
