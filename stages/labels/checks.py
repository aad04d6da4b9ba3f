"""What can be wrong with a label: in itself, beside the shop's picture, beside the extra picture's file."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any

from stages.common.images import UnreadableImage, read_header
from stages.common.tables import Row, read_table
from stages.labels.pictures import Picture, known_pictures

COLUMNS = ("sha256", "width", "height", "boxes", "product", "source")


def check(brand: Path, raw: Path) -> tuple[list[str], int]:
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


def problems_of_picture(row: Row, pictures: dict[str, Picture]) -> list[str]:
    """What is wrong between a row and the shop's picture."""
    known = pictures.get(str(row.get("sha256")))
    if known is None:
        return [f"{row.get('sha256')} is no picture of the shop (data/raw/manifest.jsonl)"]
    return _problems_of_size(row, known.size, known.stored_size)


def problems_of_file(row: Row, brand: Path) -> list[str]:
    """What is wrong between a row and the extra picture's file."""
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
    labelled = (row.get("width"), row.get("height"))
    if labelled == upright:
        return []
    if labelled == stored or labelled == upright[::-1]:
        size = f"{upright[0]} x {upright[1]} once its orientation is applied"
        return [f"was labelled {labelled[0]} x {labelled[1]}, but is {size}"]
    return [f"was labelled at {labelled[0]} x {labelled[1]}, but the picture is {upright[0]} x {upright[1]}"]
