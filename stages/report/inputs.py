"""What the report reads: tables of scored pictures, numbers by epoch, losses, and numbers of earlier stages."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import UserError
from stages.common.params import UNTUNED
from stages.common.tables import Row, read_table


@dataclass(frozen=True)
class Inputs:
    """The methods' tables by method, and the numbers of earlier stages, None where they are not there."""

    scores: dict[str, list[Row]]
    epochs: dict[str, dict[int, Row]]
    losses: dict[str, list[tuple[float, float]]]
    detector: Row | None
    calibration: list[Row] | None
    funnel: Row | None


def read_inputs(methods: Sequence[str], scores: Path, metrics: Path) -> Inputs:
    """Read data/scores and metrics. Raises UserError where a method has no scores or no numbers by epoch."""
    return Inputs(
        scores=read_scores(methods, scores),
        epochs=read_epochs(methods, metrics),
        losses={method: read_losses(method, metrics) for method in methods},
        detector=read_json(metrics / "detector_details.json"),
        calibration=read_json(metrics / "detector_calibration.json"),
        funnel=read_json(metrics / "funnel.json"),
    )


def read_scores(methods: Sequence[str], scores: Path) -> dict[str, list[Row]]:
    """Each method's scored pictures, the untuned base's before them. Raises UserError where a method has none."""
    untuned = read_table(scores / f"{UNTUNED}.jsonl")
    return {method: [*untuned, *read_table(scores / f"{method}.jsonl")] for method in methods}


def read_epochs(methods: Sequence[str], metrics: Path) -> dict[str, dict[int, Row]]:
    """Each method's numbers by epoch. Raises UserError where a method has none."""
    out = {}
    for method in methods:
        rows = read_json(metrics / "epochs" / f"{method}.json")
        if not rows:
            raise UserError(f"{metrics / 'epochs' / method}.json: no such file (has the score stage run?)")
        out[method] = {int(row["epoch"]): row for row in rows}
    return out


def read_json(path: Path) -> Any:
    """A JSON file's content, None where it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_losses(method: str, metrics: Path) -> list[tuple[float, float]]:
    """(epoch, loss) of a training, from what dvclive logged; empty where nothing was."""
    path = metrics / "finetune" / method / "plots" / "metrics" / "loss.tsv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    value = next((name for name in rows[0] if name not in ("step", "epoch", "timestamp")), None) if rows else None
    return [(float(row.get("epoch") or row["step"]), float(row[value])) for row in rows] if value else []
