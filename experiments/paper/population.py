"""Which models the tables and figures are of: those of the grid, each once, by its furthest experiment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.results import Experiment, furthest_of_each_model, read_experiments
from stages.common.errors import UserError
from stages.common.params import METHODS
from stages.common.revisions import Revision
from stages.report.labels import title_of

NAMED = 3
"""Experiments that a note names of those left out for one reason."""


@dataclass(frozen=True)
class Population:
    """The models of each method (none where it was not run), and notes on what was left out."""

    models: dict[str, list[Experiment]]
    notes: tuple[str, ...] = ()


def read_population(revisions: Sequence[Revision], repository: Path) -> Population:
    """The models of these revisions.

    Where any model of a method is one of the `grid:` of its own commit, only such ones count: the paper's scores are of
    a grid, and a run beside it (HEAD's own) would shift them. Else all count.

    Raises UserError where no model of any method counts.
    """
    models: dict[str, list[Experiment]] = {}
    notes: list[str] = []
    reasons: list[tuple[str, str]] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for method in METHODS:
        found, skipped = read_experiments(revisions, method, repository)
        reasons += skipped
        for name, reason in skipped:
            left_out[f"{title_of(method)}: {reason}"].append(name)
        inside = [experiment for experiment in found if experiment.in_grid]
        models[method] = furthest_of_each_model(inside or found)
        notes += population_notes(method, models[method], found, inside)
    if not any(models.values()):
        why = f": {reasons[0][0]}: {reasons[0][1]}" if reasons else ""
        raise UserError(f"no experiment counts{why}")
    for reason, names in left_out.items():
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        notes.append(f"Left out: {shown}: {reason}.")
    return Population(models, tuple(notes))


def population_notes(
    method: str, models: Sequence[Experiment], found: Sequence[Experiment], inside: Sequence[Experiment]
) -> list[str]:
    """What the population of a method is made of."""
    if not models:
        return [f"{title_of(method)}: not run."]
    checkpoints = sum(len(experiment.epochs) for experiment in models)
    finished = sum(experiment.finished for experiment in models)
    text = f"{title_of(method)}: {checkpoints} checkpoints of {len(models)} models"
    text += "." if finished == len(models) else f"; {finished} of the models were trained to their last epoch."
    if not inside:
        text += " None of them is of the `grid:` of its own params.yaml."
    if repeats := len(inside or found) - len(models):
        text += f" {repeats} more experiments of the same models went no further and are left out."
    if others := len(furthest_of_each_model(found)) - len(models) if inside else 0:
        text += f" {others} models that are not of the grid are left out."
    return [text]
