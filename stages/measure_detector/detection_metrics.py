"""What a detector is worth: average precision, and precision, recall and false positives at the score's own threshold.

mAP alone says nothing about a threshold: a detector with mAP50 = 1 may still fire at 0.9 on every red box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.common.boxes import Box, Detection, overlap
from stages.common.statistics import wilson_interval

IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Intersections over union at which COCO averages the precision."""


def match(detections: Sequence[Detection], boxes: Sequence[Box], iou: float) -> list[bool]:
    """Whether each detection (highest confidence first) finds a box that none before it found, at this overlap."""
    overlaps = overlap([d.box for d in detections], boxes) if detections and boxes else np.zeros((len(detections), 0))
    free = set(range(len(boxes)))
    found = []
    for row in overlaps:
        best = max(free, key=lambda j: row[j], default=None)
        hit = best is not None and bool(row[best] >= iou)
        if best is not None and hit:
            free.remove(best)
        found.append(hit)
    return found


def average_precision(detections: Sequence[Sequence[Detection]], boxes: Sequence[Sequence[Box]], iou: float) -> float:
    """COCO's average precision at one overlap: precision at 101 recalls, each the best at that recall or beyond.

    Args:
        detections: per picture, highest confidence first.
        boxes: per picture, the true ones; a picture without any is a negative whose detections are all wrong.

    Raises:
        ValueError: there is no true box, so that recall is undefined.
    """
    total = sum(len(b) for b in boxes)
    if not total:
        raise ValueError("average precision needs at least one true box")
    scored = [
        (detection.confidence, hit)
        for found, true in zip(detections, boxes, strict=True)
        for detection, hit in zip(found, match(found, true, iou), strict=True)
    ]
    if not scored:
        return 0.0
    scored.sort(key=lambda pair: -pair[0])
    hits = np.cumsum([hit for _, hit in scored])
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0).mean())


def at_threshold(
    detections: Sequence[Sequence[Detection]], boxes: Sequence[Sequence[Box]], threshold: float, confidence: float
) -> dict[str, Any]:
    """Precision, recall (of boxes, overlap >= 0.5), false-positive rate (of negative pictures), with Wilson intervals.

    A rate whose denominator is 0 is left out: it is not known.
    """
    kept = [[d for d in found if d.confidence >= threshold] for found in detections]
    right = sum(sum(match(found, true, 0.5)) for found, true in zip(kept, boxes, strict=True))
    fired = sum(len(found) for found in kept)
    negatives = [bool(found) for found, true in zip(kept, boxes, strict=True) if not true]
    rates = {
        "precision": (right, fired),
        "recall": (right, sum(len(b) for b in boxes)),
        "false_positive_rate": (sum(negatives), len(negatives)),
    }
    out: dict[str, Any] = {}
    for name, (k, n) in rates.items():
        if n:
            low, high = wilson_interval(k, n, confidence)
            out |= {name: round(k / n, 6), f"{name}_low": round(low, 6), f"{name}_high": round(high, 6)}
    return out


def reliability(
    detections: Sequence[Sequence[Detection]], boxes: Sequence[Sequence[Box]], bins: int = 10
) -> list[dict[str, float]]:
    """The calibration curve: for each band of confidence, the share of detections that are right (overlap >= 0.5).

    Bands without detections are left out.
    """
    scored = [
        (detection.confidence, hit)
        for found, true in zip(detections, boxes, strict=True)
        for detection, hit in zip(found, match(found, true, 0.5), strict=True)
    ]
    rows = []
    for band in range(bins):
        low, high = band / bins, (band + 1) / bins
        inside = [(c, hit) for c, hit in scored if low <= c < high or (band == bins - 1 and c == 1.0)]
        if inside:
            rows.append(
                {
                    "confidence": round(float(np.mean([c for c, _ in inside])), 6),
                    "share_right": round(float(np.mean([hit for _, hit in inside])), 6),
                    "detections": len(inside),
                }
            )
    return rows
