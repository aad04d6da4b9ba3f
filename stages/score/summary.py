"""From a method's scored pictures to its numbers: a row a checkpoint, the best checkpoint's, and the headline."""

from __future__ import annotations

from typing import Any

from stages.common.checkpoints import (
    best_epoch,
    by_epoch,
    compare,
    estimate_row,
    split_by_seed,
    summarise,
)
from stages.common.params import Params
from stages.common.tables import Row
from stages.score.memorisation import TrainingSet

HEADLINE = (
    "best_epoch",
    "mean",
    "mean_od",
    "mean_ocr",
    "joint_success",
    "colour_fidelity",
    "memorised_share",
    "prior_drift",
)
"""The best checkpoint's numbers that stand in metrics/score/<method>.json: `dvc exp show` has a column for each."""
SELECTED = ("images", "mean_od", "mean_ocr", "mean", "mean_low", "mean_high", "joint_success")
"""The numbers of the checkpoint that the even seeds select, taken from the odd ones."""


def summarise_epochs(rows: list[Row], params: Params) -> list[Row]:
    """A row a checkpoint (metrics/epochs/<method>.json)."""
    options = _options(params)
    return [{"epoch": epoch} | summarise(of_epoch, **options) for epoch, of_epoch in by_epoch(rows).items()]


def method_details(rows: list[Row], epochs: list[Row], params: Params, training: TrainingSet | None) -> Row:
    """The best checkpoint's numbers (metrics/details/<method>.json), beside the untuned base's on the same seeds.

    `best_epoch` is the paper's: the highest mean over all pictures. `selected` is the honest one: chosen on the even
    seeds, its numbers taken from the odd ones.

    Raises ValueError where there is no tuned checkpoint.
    """
    options = _options(params)
    groups = by_epoch(rows)
    summaries = {row["epoch"]: row for row in epochs}
    best = best_epoch(summaries)
    chosen, reported = split_by_seed(rows)
    selected = best_epoch({epoch: summarise(of, **options) for epoch, of in by_epoch(chosen).items()})
    on_others = summarise(by_epoch(reported)[selected], **options)
    out: Row = {"best_epoch": best} | {k: v for k, v in summaries[best].items() if k != "epoch"}
    out["selected"] = {"epoch": selected} | {key: on_others[key] for key in SELECTED if key in on_others}
    if 0 in summaries:
        out["epoch_0"] = {k: v for k, v in summaries[0].items() if k != "epoch"}
        out["better_than_epoch_0"] = estimate_row(compare(groups[best], groups[0], **options))
    runner_up = best_epoch({e: s for e, s in summaries.items() if e != best}) if len(summaries) > 2 else None
    if runner_up:
        difference = estimate_row(compare(groups[best], groups[runner_up], **options))
        out["better_than_runner_up"] = {"epoch": runner_up} | difference
    if training:
        out["train_to_train"] = {
            "pictures": len(training.names),
            "percentile": params.score.memorisation_percentile,
            "threshold": round(training.threshold, 6),
            "threshold_masked": round(training.threshold_masked, 6),
        }
    return out


def headline(details: Row) -> Row:
    """The few numbers of `details` that are compared between experiments; one that is unavailable is absent."""
    return {key: details[key] for key in HEADLINE if key in details}


def _options(params: Params) -> dict[str, Any]:
    return {
        "confidence": params.score.confidence_level,
        "samples": params.score.bootstrap_samples,
        "seed": params.seed,
    }
