"""A second look by a trained detector, where filter.matcher asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.common.detector import WEIGHTS, load_detector
from stages.common.errors import UserError
from stages.common.images import decode
from stages.common.params import Filter
from stages.common.progress import progress
from stages.filter.finding import Finding


def second_pass(
    settings: Filter, files: dict[str, Path], findings: dict[str, Finding], detector: Path
) -> dict[str, Finding]:
    """Let the trained detector look at the pictures on which the matcher found nothing."""
    if not (detector / WEIGHTS).is_file():
        raise UserError(
            f"filter.matcher = 'detector': {detector / WEIGHTS} is not there (cp models/detector/{WEIGHTS} {detector})"
        )
    model = load_detector(detector)
    found = dict(findings)
    missing = [entry for entry in findings.values() if entry.reason is None and entry.box is None]
    for entry in progress(missing, "detector", len(missing), "picture"):
        picture = np.asarray(decode(files[entry.sha256].read_bytes(), settings.max_megapixels))
        best = next(iter(model.detect([picture])[0]), None)
        if best is not None and best.confidence >= settings.detector_confidence:
            box = tuple(round(float(v), 1) for v in best.box)
            found[entry.sha256] = replace(entry, box=box, score=round(best.confidence, 4))
    return found
