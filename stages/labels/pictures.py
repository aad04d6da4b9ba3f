"""The pictures that may be labelled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.common.tables import read_table


@dataclass(frozen=True)
class Picture:
    """A picture that may be labelled: its upright size, the size that its file tells, and its product."""

    size: tuple[int, int]
    stored_size: tuple[int, int]
    product: str


def known_pictures(raw: Path) -> dict[str, Picture]:
    """The shop's pictures by sha256."""
    known = {}
    for row in read_table(raw / "manifest.jsonl"):
        if row["sha256"] and row["sha256"] not in known:
            stored = (row["width"], row["height"])
            upright = stored[::-1] if row["exif_orientation"] in (5, 6, 7, 8) else stored
            known[row["sha256"]] = Picture(upright, stored, row["product"])
    return known
