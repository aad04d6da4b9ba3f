"""How unlike each other are the pictures of one prompt?"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from stages.common.tables import Row
from stages.score.pictures import load_picture
from stages.score.similarity import Descriptors, describe, similarity


def add_diversity(rows: list[Row], folder: Path) -> None:
    """Give each row how unlike the other seeds of its prompt and checkpoint it is; `folder` is where the files are."""
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["epoch"], row["prompt_index"]].append(row)
    for group in groups.values():
        values = diversity(describe([load_picture(folder / row["file"]) for row in group]))
        for row, value in zip(group, values, strict=True):
            row["diversity"] = value


def diversity(pictures: Descriptors) -> list[float | None]:
    """For each picture of one prompt, 1 - its mean similarity to the others: 0 is one picture over and over.

    The measure is DreamBooth's diversity over seeds (Ruiz et al. 2023, 4.3; LPIPS there, this descriptor here).
    None where there is no other picture.
    """
    count = len(pictures)
    if count < 2:
        return [None] * count
    pairs = similarity(pictures, pictures)
    return [round(1 - float((row.sum() - row[i]) / (count - 1)), 6) for i, row in enumerate(pairs)]
