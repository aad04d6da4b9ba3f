"""Labels from other tools' files and back: all of a file or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.common.errors import UserError
from stages.common.label_rows import problems_of_row
from stages.common.tables import Row, read_numbered, write_table
from stages.common.text_files import one_line
from stages.labels.checks import problems_of_picture
from stages.labels.choice import logo_classes, logos_of, same_boxes
from stages.labels.formats import READERS, WRITERS
from stages.labels.pictures import Picture, known_pictures
from stages.labels.reading import Box, Entry, Reading, Size

MOST_TOLD = 20
"""Problems that one line tells; the others are counted."""
LEAVES_OUT = "left out as not understood"


@dataclass
class Found:
    """What all entries of one picture say."""

    labelled: list[tuple[str, Row]] = field(default_factory=list)
    """Each entry with boxes, and each negative: (its place, its row)."""
    others: list[str] = field(default_factory=list)
    doubtful: bool = False


def import_labels(
    format_: str,
    path: Path,
    brand: Path,
    raw: Path,
    labels: Sequence[str] = (),
    leave_out: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Read a labelling tool's file into labels.jsonl, replacing the rows of the same pictures; returns how many.

    Pictures are known by the sha256 in their file name, as data/raw and data/filtered name them. Nothing is written
    where anything is wrong.

    Args:
        labels: the classes that are the logo; needed where there are several.
        leave_out: pictures that hold something that is not understood are left out and counted, and the rest is taken.
        say: told each thing that was left out, and a summary.

    Raises UserError with every problem in one line, each with its file and line (or element).
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    pictures = known_pictures(raw)
    reading = READERS[format_](path, _size_lookup(pictures))
    chosen, question = logo_classes(reading, labels)
    problems = list(reading.problems)
    if question:
        problems.append(f"{path}: {question}")
    found, doubts = _by_picture(reading, pictures, chosen, format_)
    if not question:
        problems += [] if leave_out else doubts
        for doubt in doubts if leave_out else []:
            reading.leave(LEAVES_OUT, doubt)
    rows = {} if question else _rows(found, reading, problems)
    if problems:
        told = "; ".join(problems[:MOST_TOLD])
        more = f"; and {len(problems) - MOST_TOLD} more" if len(problems) > MOST_TOLD else ""
        raise UserError(one_line(f"nothing imported: {told}{more}"))
    if not rows:
        why = "; ".join(f"{what}: {len(which)} ({which[0]})" for what, which in reading.left.items())
        raise UserError(one_line(f"{path}: holds no labelled picture" + (f" ({why})" if why else "")))
    _merge(brand / "labels.jsonl", rows)
    for what, which in reading.left.items():
        say(one_line(f"{what}: {len(which)} ({'; '.join(which[:5])}{'; ...' if len(which) > 5 else ''})"))
    boxes = [len(row["boxes"]) for row in rows.values()]
    if chosen is not None:
        say(one_line(f"taken as the logo: {', '.join(sorted(chosen))}"))
    say(f"{sum(boxes)} boxes in {len(boxes) - boxes.count(0)} pictures, {boxes.count(0)} pictures without the logo")
    return len(rows)


def _by_picture(
    reading: Reading, pictures: dict[str, Picture], chosen: set[str] | None, format_: str
) -> tuple[dict[str, Found], list[str]]:
    """(what is said about each picture of the shop, everything that is not understood)."""
    found: dict[str, Found] = {}
    doubts: list[str] = []
    for entry in reading.entries:
        sha256 = sha256_in(entry.name, pictures)
        known = pictures.get(sha256 or "")
        if sha256 is None or known is None:
            doubts.append(
                f"{_place(entry)}: no picture of the shop (file names must hold the sha256, as in data/filtered/images)"
            )
            continue
        about = found.setdefault(sha256, Found())
        size = entry.size or known.size
        logos = logos_of(entry, chosen, size)
        row = {
            "sha256": sha256,
            "width": size[0],
            "height": size[1],
            "boxes": [tidy(box, size) for box in logos.boxes],
            "product": known.product,
            "source": format_,
        }
        wrong = [f"{_place(entry)}: {p}" for p in (*problems_of_row(row), *problems_of_picture(row, pictures))]
        if logos.doubts or wrong:
            about.doubtful = True
            doubts += [*logos.doubts, *wrong]
        elif logos.others and not logos.boxes:
            about.others.append(_place(entry))
        else:
            about.labelled.append((_place(entry), row))
        if logos.boxes and entry.size is None and known.size != known.stored_size:
            what = "taken as upright (they have an EXIF orientation, the file does not tell their size): look at them"
            reading.leave(what, entry.name)
    return found, doubts


def _rows(found: dict[str, Found], reading: Reading, problems: list[str]) -> dict[str, Row]:
    """A row for each picture; several entries of one picture must say the same."""
    rows: dict[str, Row] = {}
    for sha256, about in found.items():
        if about.doubtful:
            continue
        drawn = [(place, row) for place, row in about.labelled if row["boxes"]]
        if not drawn and about.others:
            reading.leave("left out, with things of other classes only", about.others[0])
            continue
        other = next((place for place, row in drawn if not same_boxes(row["boxes"], drawn[0][1]["boxes"])), None)
        if other is not None:
            problems.append(f"{sha256} is there twice with other boxes ({drawn[0][0]} and {other})")
            continue
        if drawn and len(drawn) < len(about.labelled):
            reading.leave("there twice, once without a box, which does not count", drawn[0][0])
        rows[sha256] = (drawn or about.labelled)[0][1]
    return rows


def _place(entry: Entry) -> str:
    return entry.where if entry.name in entry.where else f"{entry.where}: {entry.name}"


def _merge(target: Path, rows: dict[str, Row]) -> None:
    """Put the rows into labels.jsonl: what a picture had is replaced, its product kept."""
    old = _rows_of(target) if target.exists() else {}
    for sha256, row in rows.items():
        row["product"] = old.get(sha256, row).get("product", row["product"])
    merged = old | rows
    write_table(target, [merged[sha256] for sha256 in (*old, *(s for s in sorted(rows) if s not in old))])


def _rows_of(path: Path) -> dict[str, Row]:
    """sha256 -> row of labels.jsonl. Raises UserError where a row is wrong or there twice: one would be lost."""
    rows: dict[str, Row] = {}
    for number, row in read_numbered(path):
        problems = problems_of_row(row)
        if not problems and row["sha256"] in rows:
            problems = [f"{row['sha256']} is labelled twice"]
        if problems:
            raise UserError(one_line(f"{path}:{number}: {problems[0]} (python -m stages.labels check tells all)"))
        rows[row["sha256"]] = row
    return rows


def export_labels(format_: str, path: Path, brand: Path) -> int:
    """Write labels.jsonl for a labelling tool, pictures named as in data/filtered; returns how many rows."""
    rows = _rows_of(brand / "labels.jsonl")
    boxes = {
        f"{sha256}.png": ((row["width"], row["height"]), [(b[0], b[1], b[2], b[3]) for b in row["boxes"]])
        for sha256, row in rows.items()
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


def sha256_in(name: str, known: dict[str, Picture] | None = None) -> str | None:
    """The sha256 that a file name holds, whatever a tool put around it; of several the last, a known one first."""
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", name.lower())
    return next((s for s in reversed(found) if s in (known or {})), found[-1] if found else None)


def _size_lookup(pictures: dict[str, Picture]) -> Callable[[str], tuple[int, int] | None]:
    def size_of(name: str) -> tuple[int, int] | None:
        known = pictures.get(sha256_in(name, pictures) or "")
        return known.size if known else None

    return size_of
