"""What the trained detector says of the held-out pictures: raw, for whatever threshold it is measured at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.common.boxes import Detection
from stages.common.detector import load_detector
from stages.common.files import replacing, write_json
from stages.common.params import Params
from stages.common.tables import Row, write_table
from stages.train_detector.augment import Labelled, readable_view
from stages.train_detector.dataset import picture_rng
from stages.train_detector.hard_negatives import hard_negative
from stages.train_detector.labelled import Source, load

HARD_NEGATIVE = "hard-negative"
"""The kind of the held-out pictures whose logo was replaced by a look-alike."""
THUMBNAIL = 156
"""Pixels, longer side of a held-out picture on metrics/detections.png."""


@dataclass(frozen=True)
class View:
    """A held-out picture as it is shown to the detector."""

    sha256: str
    kind: str
    item: Labelled


def held_out_views(held_out: Sequence[Source], params: Params) -> list[View]:
    """The held-out pictures as the score would meet them, and each positive once more as a hard negative."""
    views = []
    for source in held_out:
        rng = picture_rng(source.sha256, params.seed, 0)
        item = readable_view(load(source), params.resolution, params.filter.min_logo_width, rng)
        views.append(View(source.sha256, source.kind, item))
        if item.boxes:
            views.append(View(source.sha256, HARD_NEGATIVE, hard_negative(item, params.brand.word, rng)))
    return views


def raw_scores(views: Sequence[View], detections: Sequence[Sequence[Detection]]) -> list[Row]:
    """One row a held-out picture: its true boxes and everything that was detected, down to 1 % confidence."""
    return [
        {
            "sha256": view.sha256,
            "kind": view.kind,
            "width": view.item.image.width,
            "height": view.item.image.height,
            "boxes": [[round(v, 3) for v in box] for box in view.item.boxes],
            "detections": [{"box": list(d.box), "confidence": d.confidence} for d in found],
            "thumbnail": f"holdout/{number:03d}.png",
        }
        for number, (view, found) in enumerate(zip(views, detections, strict=True))
    ]


def write_holdout(folder: Path, views: Sequence[View]) -> None:
    """Look for the logo on the held-out pictures with the detector in `folder`, and write there what it says.

    holdout.jsonl has a row a picture (`raw_scores`), holdout/NNN.png a thumbnail of each.
    """
    detections = load_detector(folder).detect([np.asarray(view.item.image) for view in views])
    rows = raw_scores(views, detections)
    for row, view in zip(rows, views, strict=True):
        image = view.item.image
        scale = THUMBNAIL / max(image.size)
        small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        with replacing(folder / row["thumbnail"], durable=False) as file:
            small.save(file, "PNG")
    write_table(folder / "holdout.jsonl", rows)


def write_counts(
    path: Path, sources: Sequence[Source], training: Sequence[Source], held_out: Sequence[Source], augmented: int
) -> None:
    """Write how many pictures the detector was trained on and is measured on, and of which kinds they are."""
    counts: dict[str, Any] = {
        "pictures": {"labelled": len(training), "augmented": augmented, "held_out": len(held_out)},
        "kinds": dict(sorted(Counter(source.kind for source in sources).items())),
    }
    write_json(path, counts)
