"""The boxes that people drew: checking them, and exchanging them with labelling tools. Not a stage of the DAG.

data/brand/labels.jsonl holds a row for each labelled picture of the shop, data/brand/extra.jsonl one for each labelled
picture from elsewhere (social media; drawings of the logo, good and bad), whose file lies in data/brand/extra. A row is
{"sha256", "width", "height", "boxes": [[x0, y0, x1, y1], ...], "product", "source"}; boxes are in pixels of the upright
picture, and no boxes makes it a negative. Labels are in git and are a dependency: no stage writes them.

    python -m stages.labels check                        every bad row at once
    python -m stages.labels import coco boxes.json       yolo (a folder), coco, label-studio or cvat into labels.jsonl
    python -m stages.labels export cvat boxes.xml        for correcting boxes in a tool
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.tables import Row, read_table, write_table

BRAND, RAW = Path("data/brand"), Path("data/raw")
FORMATS = ("yolo", "coco", "label-studio", "cvat")
COLUMNS = ("sha256", "width", "height", "boxes", "product", "source")


@dataclass(frozen=True)
class Known:
    """A picture that may be labelled: its upright size, the size that its file tells, and its product."""

    size: tuple[int, int]
    stored_size: tuple[int, int]
    product: str


# --- Pictures --------------------------------------------------------------------------------------------------------


def known_pictures(raw: Path) -> dict[str, Known]:
    """The shop's pictures by sha256."""
    known = {}
    for row in read_table(raw / "manifest.jsonl"):
        if row["sha256"] and row["sha256"] not in known:
            stored = (row["width"], row["height"])
            upright = stored[::-1] if row["exif_orientation"] in (5, 6, 7, 8) else stored
            known[row["sha256"]] = Known(upright, stored, row["product"])
    return known


# --- check -----------------------------------------------------------------------------------------------------------


def check(brand: Path = BRAND, raw: Path = RAW) -> tuple[list[str], int]:
    """Look at all labels; returns every problem, one line each, and the number of rows that were looked at."""
    problems: list[str] = []
    pictures = known_pictures(raw) if (raw / "manifest.jsonl").exists() else None
    labels = read_table(brand / "labels.jsonl") if (brand / "labels.jsonl").exists() else []
    extra = read_table(brand / "extra.jsonl") if (brand / "extra.jsonl").exists() else []
    if not labels and not extra:
        problems.append(f"{brand}: neither labels.jsonl nor extra.jsonl has a row")
    seen: dict[str, str] = {}
    for name, rows in (("labels.jsonl", labels), ("extra.jsonl", extra)):
        for number, row in enumerate(rows, start=1):
            where = f"{brand / name}:{number}"
            problems += [f"{where}: {problem}" for problem in problems_of_row(row)]
            sha256 = str(row.get("sha256"))
            if sha256 in seen:
                problems.append(f"{where}: {sha256} is labelled twice, first at {seen[sha256]}")
            seen.setdefault(sha256, where)
            if name == "extra.jsonl":
                problems += [f"{where}: {problem}" for problem in problems_of_file(row, brand)]
            elif pictures is not None:
                problems += [f"{where}: {problem}" for problem in problems_of_picture(row, pictures)]
    return problems, len(labels) + len(extra)


def problems_of_row(row: Row) -> list[str]:
    """What is wrong with a row in itself: missing columns, boxes that are none, leave the picture or have no area."""
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        return [f"{', '.join(missing)} missing"]
    problems = []
    if not re.fullmatch(r"[0-9a-f]{64}", str(row["sha256"])):
        problems.append(f"sha256 = {row['sha256']!r} is no sha256")
    width, height = row["width"], row["height"]
    if not all(isinstance(v, int) and v > 0 for v in (width, height)):
        return [*problems, f"width and height must be whole numbers above 0, are {width!r} and {height!r}"]
    if not isinstance(row["boxes"], list):
        return [*problems, f"boxes must be a list, is {row['boxes']!r}"]
    kept: list[list[float]] = []
    for box in row["boxes"]:
        problem = problem_of_box(box, width, height)
        if problem:
            problems.append(f"box {box}: {problem}")
        elif any(max(abs(a - b) for a, b in zip(box, other, strict=True)) < 1 for other in kept):
            problems.append(f"box {box}: drawn twice")
        else:
            kept.append(box)
    return problems


def problem_of_box(box: Any, width: int, height: int) -> str | None:
    """Why a box cannot be one, None where it can."""
    if not isinstance(box, list) or len(box) != 4:
        return "must be four numbers x0, y0, x1, y1"
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in box):
        return "must be four numbers x0, y0, x1, y1"
    x0, y0, x1, y1 = box
    if x1 - x0 <= 0 or y1 - y0 <= 0:
        return "has no area (x0 < x1 and y0 < y1 are needed)"
    if x0 < -0.5 or y0 < -0.5 or x1 > width + 0.5 or y1 > height + 0.5:
        return f"leaves the picture of {width} x {height} pixels"
    return None


def problems_of_picture(row: Row, pictures: dict[str, Known]) -> list[str]:
    """What is wrong between a row and the shop's picture."""
    known = pictures.get(str(row.get("sha256")))
    if known is None:
        return [f"{row.get('sha256')} is no picture of the shop (data/raw/manifest.jsonl)"]
    return _problems_of_size(row, known.size, known.stored_size)


def problems_of_file(row: Row, brand: Path) -> list[str]:
    """What is wrong between a row and the extra picture's file."""
    from stages.common.images import UnreadableImage, read_header

    if not isinstance(row.get("file"), str):
        return ["file missing"]
    path = brand / row["file"]
    if not path.resolve().is_relative_to(brand.resolve()) or not path.is_file():
        return [f"{path}: no such file in {brand}"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.get("sha256"):
        return [f"{path}: holds another picture than the sha256 says"]
    try:
        header = read_header(content)
    except UnreadableImage as error:
        return [f"{path}: {error}"]
    stored = (header.width, header.height)
    return _problems_of_size(row, stored[::-1] if header.exif_orientation in (5, 6, 7, 8) else stored, stored)


def _problems_of_size(row: Row, upright: tuple[int, int], stored: tuple[int, int]) -> list[str]:
    told = (row.get("width"), row.get("height"))
    if told == upright:
        return []
    if told == stored or told == upright[::-1]:
        return [
            f"was labelled {told[0]} x {told[1]}, but is {upright[0]} x {upright[1]} once its orientation is applied"
        ]
    return [f"was labelled at {told[0]} x {told[1]}, but the picture is {upright[0]} x {upright[1]}"]


# --- import and export -----------------------------------------------------------------------------------------------


def import_labels(format_: str, path: Path, brand: Path = BRAND, raw: Path = RAW) -> int:
    """Read a labelling tool's file into labels.jsonl, replacing the rows of the same pictures; returns how many.

    Pictures are known by the sha256 in their file name, as data/raw and data/filtered name them. Nothing is written
    where anything is wrong. Raises UserError with every problem.
    """
    from stages.labels.formats import READERS

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
        tidy = [[round(min(max(v, 0.0), float(size[i % 2])), 2) if -0.5 <= v <= size[i % 2] + 0.5 else round(v, 2)
                 for i, v in enumerate(box)] for box in boxes]  # fmt: skip
        row = {
            "sha256": sha256,
            "width": size[0],
            "height": size[1],
            "boxes": tidy,
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
    partial = target.with_suffix(".new")
    write_table(partial, [merged[sha256] for sha256 in (*old, *(s for s in sorted(rows) if s not in old))])
    write_file(target, partial.read_bytes())
    partial.unlink()
    return len(rows)


def export_labels(format_: str, path: Path, brand: Path = BRAND) -> int:
    """Write labels.jsonl for a labelling tool, pictures named as in data/filtered; returns how many rows."""
    from stages.labels.formats import WRITERS

    rows = read_table(brand / "labels.jsonl")
    boxes = {
        f"{row['sha256']}.png": ((row["width"], row["height"]), [(b[0], b[1], b[2], b[3]) for b in row["boxes"]])
        for row in rows
    }
    WRITERS[format_](path, boxes)
    return len(rows)


def sha256_in(name: str) -> str | None:
    """The sha256 that a file name holds, whatever a tool put around it."""
    found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", name.lower())
    return found.group() if found else None


def _size_lookup(pictures: dict[str, Known]) -> Callable[[str], tuple[int, int] | None]:
    def size_of(name: str) -> tuple[int, int] | None:
        known = pictures.get(sha256_in(name) or "")
        return known.size if known else None

    return size_of


# --- Command line ----------------------------------------------------------------------------------------------------


@click.group(help=__doc__)
def main() -> None:
    """See the module's docstring."""


@main.command("check")
@click.option("--brand", type=click.Path(path_type=Path), default=BRAND, show_default=True)
@click.option("--raw", type=click.Path(path_type=Path), default=RAW, show_default=True)
def check_command(brand: Path, raw: Path) -> None:
    """Report every bad box and row at once; exit status 1 where there is one."""

    def run() -> None:
        problems, rows = check(brand, raw)
        for problem in problems:
            click.echo(problem, err=True)
        if not (raw / "manifest.jsonl").exists():
            click.echo(f"{raw}/manifest.jsonl is not there: the shop's pictures were not compared", err=True)
        if problems:
            raise UserError(f"{len(problems)} problems in {rows} rows of {brand}")
        click.echo(f"{rows} rows are good")

    stage_main(run)()


@main.command("import")
@click.argument("format_", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
def import_command(format_: str, path: Path) -> None:
    """Read boxes from another tool's file (YOLO: a folder) into data/brand/labels.jsonl."""
    stage_main(lambda: click.echo(f"{import_labels(format_, path)} pictures imported"))()


@main.command("export")
@click.argument("format_", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
def export_command(format_: str, path: Path) -> None:
    """Write data/brand/labels.jsonl for another tool."""
    stage_main(lambda: click.echo(f"{export_labels(format_, path)} pictures exported"))()


if __name__ == "__main__":
    main()
