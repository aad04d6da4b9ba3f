"""Labels from other tools' files and back: all of a file or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from stages.common.errors import UserError
from stages.common.tables import Row, read_table, write_table
from stages.labels.checks import problems_of_picture, problems_of_row
from stages.labels.formats import READERS, WRITERS, Box, Size
from stages.labels.pictures import Picture, known_pictures


def import_labels(format_: str, path: Path, brand: Path, raw: Path) -> int:
    """Read a labelling tool's file into labels.jsonl, replacing the rows of the same pictures; returns how many.

    Pictures are known by the sha256 in their file name, as data/raw and data/filtered name them. Nothing is written
    where anything is wrong. Raises UserError with every problem.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    pictures = known_pictures(raw)
    problems: list[str] = []
    read = READERS[format_](path, _size_lookup(pictures), problems)
    rows: dict[str, Row] = {}
    for name, (size, boxes) in read.items():
        sha256 = sha256_in(name)
        known = pictures.get(sha256 or "")
        if sha256 is None or known is None:
            problems.append(
                f"{name}: no picture of the shop (file names must hold the sha256, as in data/filtered/images)"
            )
            continue
        row = {
            "sha256": sha256,
            "width": size[0],
            "height": size[1],
            "boxes": [tidy(box, size) for box in boxes],
            "product": known.product,
            "source": format_,
        }
        problems += [f"{name}: {problem}" for problem in (*problems_of_row(row), *problems_of_picture(row, pictures))]
        rows[sha256] = row
    if problems:
        raise UserError("nothing imported: " + "; ".join(problems))
    if not rows:
        raise UserError(f"{path}: holds no labelled picture")
    target = brand / "labels.jsonl"
    old = {row["sha256"]: row for row in read_table(target)} if target.exists() else {}
    for sha256, row in rows.items():
        row["product"] = old.get(sha256, row)["product"]
    merged = old | rows
    write_table(target, [merged[sha256] for sha256 in (*old, *(s for s in sorted(rows) if s not in old))])
    return len(rows)


def export_labels(format_: str, path: Path, brand: Path) -> int:
    """Write labels.jsonl for a labelling tool, pictures named as in data/filtered; returns how many rows."""
    rows = read_table(brand / "labels.jsonl")
    boxes = {
        f"{row['sha256']}.png": ((row["width"], row["height"]), [(b[0], b[1], b[2], b[3]) for b in row["boxes"]])
        for row in rows
    }
    WRITERS[format_](path, boxes)
    return len(rows)


def tidy(box: Box, size: Size) -> list[float]:
    """A box to a hundredth of a pixel; an edge that leaves the picture by no more than half a pixel is put on its edge.

    Half a pixel is what tools that count pixels from their middles are off by. What leaves it by more stays as it is,
    for `problems_of_row` to name.
    """
    sides = (float(size[0]), float(size[1])) * 2
    return [
        round(min(max(v, 0.0), side), 2) if -0.5 <= v <= side + 0.5 else round(v, 2)
        for v, side in zip(box, sides, strict=True)
    ]


def sha256_in(name: str) -> str | None:
    """The sha256 that a file name holds, whatever a tool put around it."""
    found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", name.lower())
    return found.group() if found else None


def _size_lookup(pictures: dict[str, Picture]) -> Callable[[str], tuple[int, int] | None]:
    def size_of(name: str) -> tuple[int, int] | None:
        known = pictures.get(sha256_in(name) or "")
        return known.size if known else None

    return size_of
