"""Where the detector sees the logo on a picture, and what that scores (paper 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from stages.common.boxes import Box, Detection
from stages.common.tables import Row

LOGO_FROM = 0.25
"""Confidence from which a detection counts as the logo, to be left out where colours and compositions are compared:
ultralytics' own default for predictions (`conf` of its predict mode). Lower than `score.threshold`: a logo that is
drawn badly is still not the garment."""


def detection_columns(detections: Sequence[Detection], threshold: float) -> Row:
    """The paper's per-image detector score: the highest confidence where it reaches the threshold, else 0.

    Args:
        detections: of one picture, the highest confidence first.
        threshold: `score.threshold`.
    """
    best = detections[0] if detections else None
    confidence = best.confidence if best else 0.0
    return {
        "confidence": confidence,
        "od": confidence if confidence >= threshold else 0.0,
        "box": list(best.box) if best else None,
    }


def logo_boxes(detections: Sequence[Detection]) -> list[Box]:
    """The boxes of what counts as the logo (`LOGO_FROM`), the highest confidence first."""
    return [detection.box for detection in detections if detection.confidence >= LOGO_FROM]
