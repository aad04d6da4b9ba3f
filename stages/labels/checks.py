"""What can be wrong with a label: in itself, beside the shop's picture, beside the extra picture's file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stages.common.images import UnreadableImage, read_header
from stages.common.label_rows import EXTRA_COLUMNS, problems_of_row
from stages.common.tables import Row, read_numbered
from stages.labels.pictures import Picture, known_pictures


def check(brand: Path, raw: Path) -> tuple[list[str], int]:
    """Look at all labels; returns every problem, one line each, and the number of rows that were looked at."""
    problems: list[str] = []
    pictures = known_pictures(raw) if (raw / "manifest.jsonl").exists() else None
    labels = read_numbered(brand / "labels.jsonl") if (brand / "labels.jsonl").exists() else []
    extra = read_numbered(brand / "extra.jsonl") if (brand / "extra.jsonl").exists() else []
    if not labels and not extra:
        problems.append(f"{brand}: neither labels.jsonl nor extra.jsonl has a row")
    seen: dict[str, str] = {}
    for name, rows in (("labels.jsonl", labels), ("extra.jsonl", extra)):
        for number, row in rows:
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


def problems_of_picture(row: Row, pictures: dict[str, Picture]) -> list[str]:
    """What is wrong between a row and the shop's picture."""
    known = pictures.get(str(row.get("sha256")))
    if known is None:
        return [f"{row.get('sha256')} is no picture of the shop (data/raw/manifest.jsonl)"]
    return _problems_of_size(row, known.size, known.stored_size)


def problems_of_file(row: Row, brand: Path) -> list[str]:
    """What is wrong between a row and the extra picture's file, of what kind it is included."""
    missing = [name for name in EXTRA_COLUMNS if not (isinstance(row.get(name), str) and row[name])]
    problems = [f"{' and '.join(missing)} missing"] if missing else []
    if "file" in missing:
        return problems
    path = brand / row["file"]
    if not path.resolve().is_relative_to(brand.resolve()) or not path.is_file():
        return [*problems, f"{path}: no such file in {brand}"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.get("sha256"):
        return [*problems, f"{path}: holds another picture than the sha256 says"]
    try:
        header = read_header(content)
    except UnreadableImage as error:
        return [*problems, f"{path}: {error}"]
    stored = (header.width, header.height)
    return problems + _problems_of_size(
        row, stored[::-1] if header.exif_orientation in (5, 6, 7, 8) else stored, stored
    )


def _problems_of_size(row: Row, upright: tuple[int, int], stored: tuple[int, int]) -> list[str]:
    labelled = (row.get("width"), row.get("height"))
    if labelled == upright:
        return []
    if labelled == stored or labelled == upright[::-1]:
        size = f"{upright[0]} x {upright[1]} once its orientation is applied"
        return [f"was labelled {labelled[0]} x {labelled[1]}, but is {size}"]
    return [f"was labelled at {labelled[0]} x {labelled[1]}, but the picture is {upright[0]} x {upright[1]}"]
