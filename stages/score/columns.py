"""All columns of every picture: each judge is asked once for each chunk of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.common.detector import Detector
from stages.common.params import Params
from stages.common.progress import progress
from stages.common.tables import Row
from stages.score.clip import Clip, clip_columns, without_token
from stages.score.colours import colour_columns
from stages.score.detection import detection_columns
from stages.score.diversity import add_diversity
from stages.score.memorisation import TrainingSet, memorisation_columns
from stages.score.pictures import load_picture
from stages.score.reader import Reader
from stages.score.reading import read_pictures, reading_columns

CHUNK = 64
"""Pictures held in memory at once, chosen by hand: two of the detector's batches, 50 MB at 512 pixels."""


@dataclass(frozen=True)
class Judges:
    """What looks at the pictures; the columns of one that is None are left out."""

    detector: Detector
    reader: Reader
    clip: Clip | None = None
    training: TrainingSet | None = None
    generic_logo_detector: Detector | None = None


def score_rows(manifest: list[Row], folder: Path, params: Params, judges: Judges) -> list[Row]:
    """The manifest's rows with all score columns; `folder` is where their files are.

    Raises UserError where a picture is missing or cannot be read.
    """
    settings, rows = params.score, []
    prompts = [without_token(row["prompt"], params.brand.token) for row in manifest]
    others = list(dict.fromkeys(prompts))
    starts = range(0, len(manifest), CHUNK)
    for start in progress(starts, "score", total=len(starts), unit=f"x{CHUNK} pictures"):
        chunk, asked = manifest[start : start + CHUNK], prompts[start : start + CHUNK]
        pictures = [load_picture(folder / row["file"]) for row in chunk]
        detections = judges.detector.detect(pictures)
        readings = read_pictures(judges.reader, pictures, detections, settings.margin, judges.generic_logo_detector)
        nothing: list[Row] = [{}] * len(chunk)
        seen = clip_columns(judges.clip, pictures, asked, others) if judges.clip else nothing
        copied = memorisation_columns(judges.training, pictures, detections) if judges.training else nothing
        for i, row in enumerate(chunk):
            rows.append(
                row
                | detection_columns(detections[i], settings.threshold)
                | reading_columns(readings[i], params.brand.word, settings.threshold)
                | colour_columns(pictures[i], asked[i], detections[i])
                | seen[i]
                | copied[i]
            )
    add_diversity(rows, folder)
    return rows
