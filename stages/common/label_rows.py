"""A row of data/brand/labels.jsonl or extra.jsonl: what can be wrong with it in itself."""

from __future__ import annotations

import math
import re
from typing import Any

from stages.common.tables import Row
from stages.common.text_files import shown

COLUMNS = ("sha256", "width", "height", "boxes", "product", "source")
EXTRA_COLUMNS = ("file", "kind")
"""What a row of extra.jsonl has beside them: the file below data/brand, and what kind of picture it is."""


def problems_of_row(row: Row) -> list[str]:
    """What is wrong with a row in itself: missing columns, boxes that are none, leave the picture or have no area."""
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        return [f"{', '.join(missing)} missing"]
    problems = []
    if not re.fullmatch(r"[0-9a-f]{64}", str(row["sha256"])):
        problems.append(f"sha256 = {shown(row['sha256'], 80)} is no sha256")
    width, height = row["width"], row["height"]
    if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in (width, height)):
        return [*problems, f"width and height must be whole numbers above 0, are {shown(width)} and {shown(height)}"]
    if not isinstance(row["boxes"], list):
        return [*problems, f"boxes must be a list, is {shown(row['boxes'])}"]
    kept: list[list[float]] = []
    for box in row["boxes"]:
        problem = problem_of_box(box, width, height)
        if problem:
            problems.append(f"box {shown(box)}: {problem}")
        elif any(max(abs(a - b) for a, b in zip(box, other, strict=True)) < 1 for other in kept):
            problems.append(f"box {shown(box)}: drawn twice")
        else:
            kept.append(box)
    return problems


def problem_of_box(box: Any, width: int, height: int) -> str | None:
    """Why a box cannot be one, None where it can."""
    if not isinstance(box, list) or len(box) != 4:
        return "must be four numbers x0, y0, x1, y1"
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < math.inf for v in box):
        return "must be four numbers x0, y0, x1, y1"
    x0, y0, x1, y1 = box
    if x1 - x0 <= 0 or y1 - y0 <= 0:
        return "has no area (x0 < x1 and y0 < y1 are needed)"
    if x0 < -0.5 or y0 < -0.5 or x1 > width + 0.5 or y1 > height + 0.5:
        return f"leaves the picture of {width} x {height} pixels"
    return None
