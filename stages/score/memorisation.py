"""Does a generated picture copy a training picture, beyond the logo that it was meant to learn?

The question and the yardstick are those of digital-forgery work (Somepalli et al. 2023; distance to the closest record
in tabular data): the similarity of a picture to its nearest training picture, against how similar training pictures are
to their nearest other. A logo should match, its background should not, so what decides is the comparison with the logos
of both pictures left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common.boxes import Box, Detection
from stages.common.tables import Row, read_table
from stages.score.detection import logo_boxes
from stages.score.pictures import Picture
from stages.score.similarity import Descriptors, describe, similarity


@dataclass(frozen=True)
class Nearest:
    """A picture's nearest training picture: how similar the two are, and its name; with the logos left out too."""

    similarity: float
    name: str
    similarity_masked: float
    name_masked: str
    memorised: bool


class TrainingSet:
    """The training pictures, and how alike they are among themselves."""

    def __init__(
        self,
        names: Sequence[str],
        pictures: Sequence[Picture],
        logos: Sequence[Sequence[Box]],
        percentile: float,
    ) -> None:
        """
        Args:
            names: the pictures' file names.
            pictures: RGB or RGBA, [height, width, 3 or 4]; transparent margins do not count.
            logos: each picture's logo boxes in pixels.
            percentile: of the similarity of training pictures to their nearest other one, above which a picture counts
                as memorised (DCR work takes 95).

        Raises:
            ValueError: fewer than two pictures, which have no distribution of similarities.
        """
        if len(names) < 2:
            raise ValueError("memorisation needs at least two training pictures to compare among themselves")
        self.names = list(names)
        self._whole, self._masked = describe(pictures), describe(pictures, logos)
        self.train_to_train = _among_themselves(self._whole)
        self.train_to_train_masked = _among_themselves(self._masked)
        self.threshold = float(np.percentile(self.train_to_train, percentile))
        self.threshold_masked = float(np.percentile(self.train_to_train_masked, percentile))

    def nearest(self, pictures: Sequence[Picture], logos: Sequence[Sequence[Box]]) -> list[Nearest]:
        """The nearest training picture of each picture, by the whole and with the logos of both left out.

        A picture is memorised where, without the logos, it is as similar to a training picture as only the most similar
        training pictures are to each other: a copy with another logo is found, a copy of the logo alone is not.
        """
        whole = similarity(describe(pictures), self._whole)
        masked = similarity(describe(pictures, logos), self._masked)
        out = []
        for row, row_masked in zip(whole, masked, strict=True):
            first, first_masked = int(row.argmax()), int(row_masked.argmax())
            value = float(row_masked[first_masked])
            out.append(
                Nearest(
                    similarity=round(float(row[first]), 6),
                    name=self.names[first],
                    similarity_masked=round(value, 6),
                    name_masked=self.names[first_masked],
                    memorised=value >= self.threshold_masked,
                )
            )
        return out


def load_training_set(captioned: Path, percentile: float) -> TrainingSet | None:
    """The training pictures with their logos' boxes; None where there are fewer than two."""
    rows = sorted(read_table(captioned / "metadata.jsonl"), key=lambda row: row["file_name"])
    if len(rows) < 2:
        return None
    pictures = [np.asarray(Image.open(captioned / row["file_name"]).convert("RGBA")) for row in rows]
    logos = [[tuple(row["box"])] if row.get("box") else [] for row in rows]
    return TrainingSet([row["file_name"] for row in rows], pictures, logos, percentile)


def memorisation_columns(
    training: TrainingSet, pictures: Sequence[Picture], detections: Sequence[Sequence[Detection]]
) -> list[Row]:
    """The nearest training picture, whole and without the logos, and whether the picture is a copy of one."""
    return [
        {
            "similarity": nearest.similarity,
            "nearest": nearest.name,
            "similarity_masked": nearest.similarity_masked,
            "nearest_masked": nearest.name_masked,
            "memorised": nearest.memorised,
        }
        for nearest in training.nearest(pictures, [logo_boxes(found) for found in detections])
    ]


def _among_themselves(pictures: Descriptors) -> NDArray[np.float32]:
    pairs = similarity(pictures, pictures)
    np.fill_diagonal(pairs, -1)
    return np.asarray(pairs.max(axis=1))
