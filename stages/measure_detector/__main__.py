"""Measure the logo detector on the pictures that were held out, at the confidence from which the score counts a logo.

Reads   models/detector (holdout.jsonl: what the detector says of every held-out picture, down to 1 % confidence;
        holdout/: thumbnails; pictures.json: how many were trained on), params score.threshold, score.confidence_level.
Writes  metrics/detector.json (four headline numbers), metrics/detector_details.json (all of them, with intervals),
        metrics/detector_calibration.json, metrics/detections.png (like the paper's Figure 4).

A stage of its own, so that another threshold does not train the detector again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import Params, load_params, read_yaml
from stages.common.tables import read_table


@dataclass(frozen=True)
class Paths:
    """The stage's folders."""

    detector: Path = Path("models/detector")
    metrics: Path = Path("metrics")


PATHS = Paths()


def measure_detector(params: Params, paths: Paths = PATHS) -> dict[str, Any]:
    """Measure, and write the numbers; returns the content of metrics/detector_details.json.

    Raises UserError where the detector's folder has no held-out pictures' scores.
    """
    from stages.measure_detector.detection_metrics import reliability
    from stages.measure_detector.measures import HEADLINES, detections_of, measure
    from stages.measure_detector.sheet import draw_detections

    rows = read_table(paths.detector / "holdout.jsonl")
    if not rows:
        raise UserError(f"{paths.detector / 'holdout.jsonl'}: no picture was held out (detector.holdout)")
    threshold = params.score.threshold
    numbers = measure(rows, threshold, params.score.confidence_level)
    numbers |= read_yaml(paths.detector / "pictures.json")
    write_json(paths.metrics / "detector_details.json", numbers)
    write_json(paths.metrics / "detector.json", {name: numbers[name] for name in HEADLINES if name in numbers})
    curve = reliability([detections_of(row) for row in rows], [row["boxes"] for row in rows])
    write_json(paths.metrics / "detector_calibration.json", curve)
    draw_detections(rows, paths.detector, threshold, paths.metrics / "detections.png")
    return numbers


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    numbers = measure_detector(load_params())
    shown = [
        f"{name} {numbers[key]:.3f}"
        for key, name in (("precision", "precision"), ("recall", "recall"))
        if key in numbers
    ]
    if "false_positive_rate" in numbers:
        shown.append(f"false positives {numbers['false_positive_rate']:.3f}")
    click.echo(f"mAP50 {numbers['mAP50']:.3f}; at {numbers['threshold']:.2f}: {', '.join(shown)}")


if __name__ == "__main__":
    main()
