"""The detector's numbers on the held-out pictures, at the score's threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.common.boxes import Detection
from stages.common.tables import Row
from stages.measure_detector.detection_metrics import IOUS, at_threshold, average_precision

HARD_NEGATIVE = "hard-negative"
"""The kind that `train-detector` gives to held-out pictures whose logo was replaced by a look-alike."""
HEADLINES = ("mAP50", "precision", "recall", "false_positive_rate")
"""The numbers that `dvc metrics diff` compares."""


def detections_of(row: Row) -> list[Detection]:
    """What was detected on a held-out picture, highest confidence first."""
    found = []
    for entry in row["detections"]:
        x0, y0, x1, y1 = entry["box"]
        found.append(Detection((x0, y0, x1, y1), entry["confidence"]))
    return found


def measure(rows: Sequence[Row], threshold: float, confidence: float) -> dict[str, Any]:
    """mAP50 and mAP50-95 over all held-out pictures but the hard negatives made of others; precision, recall and
    false-positive rate at the threshold; the false-positive rate of each kind of negative, made ones among them.

    Args:
        rows: of models/detector/holdout.jsonl.
        threshold: confidence from which a detection counts.
        confidence: level of the intervals.
    """
    real = [row for row in rows if row["kind"] != HARD_NEGATIVE]
    found, boxes = [detections_of(row) for row in real], [row["boxes"] for row in real]
    precisions = [average_precision(found, boxes, iou) for iou in IOUS]
    kinds = {}
    for kind in sorted({row["kind"] for row in rows if not row["boxes"]}):
        of_kind = [row for row in rows if row["kind"] == kind and not row["boxes"]]
        rates = at_threshold([detections_of(row) for row in of_kind], [()] * len(of_kind), threshold, confidence)
        kinds[kind] = {"pictures": len(of_kind)} | {k: v for k, v in rates.items() if k.startswith("false")}
    return {
        "mAP50": round(precisions[0], 6),
        "mAP50_95": round(sum(precisions) / len(precisions), 6),
        "threshold": threshold,
        **at_threshold(found, boxes, threshold, confidence),
        "positives": sum(bool(b) for b in boxes),
        "negatives": sum(not b for b in boxes),
        "hard_negatives": kinds,
    }
