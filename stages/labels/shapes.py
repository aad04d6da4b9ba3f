"""The upright box around what people draw: turned rectangles, polygons, ellipses, masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from stages.labels.reading import Box, numbers


def around(points: Sequence[tuple[float, float]]) -> Box:
    """The box around points, at least one."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def around_polygon(points: Sequence[tuple[float, float]]) -> Box | None:
    """The box around a polygon of at least three corners, None where it has fewer or no area."""
    if len(points) < 3:
        return None
    box = around(points)
    return box if box[2] > box[0] and box[3] > box[1] else None


def pairs_of(values: Any) -> list[tuple[float, float]] | None:
    """[x, y, x, y, ...] or [[x, y], ...] as pairs, None where it is neither."""
    if isinstance(values, (list, tuple)) and all(isinstance(v, (list, tuple)) for v in values):
        found = [numbers(v, 2) for v in values]
        return [(v[0], v[1]) for v in found if v] if None not in found else None
    flat = numbers(values)
    if flat is None or len(flat) % 2:
        return None
    return list(zip(flat[::2], flat[1::2], strict=True))


def turned_about_corner(x: float, y: float, w: float, h: float, degrees: float) -> Box:
    """The box around a rectangle that is turned clockwise about its top left corner (Label Studio)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return around([(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ((0, 0), (w, 0), (w, h), (0, h))])


def turned_about_middle(x0: float, y0: float, x1: float, y1: float, degrees: float) -> Box:
    """The box around a rectangle that is turned about its middle (CVAT)."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    return cx - (w * cos + h * sin), cy - (w * sin + h * cos), cx + (w * cos + h * sin), cy + (w * sin + h * cos)


def around_ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float) -> Box:
    """The box around an ellipse that is turned about its middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    w, h = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return cx - w, cy - h, cx + w, cy + h


def around_runs(counts: Any, height: Any, width: Any) -> Box | None:
    """The box around a COCO mask: runs of 0 and 1 in turn, down the columns; None where it is empty or no mask.

    `counts` is the list of runs, or COCO's text of it (cocoapi, common/maskApi.c, rleFrString: six bits a character).
    """
    if isinstance(counts, str):
        counts = _runs_of_text(counts)
    runs = numbers(counts)
    sides = numbers([height, width], 2)
    if not runs or sides is None or any(r < 0 or r != int(r) for r in (*runs, *sides)):
        return None
    rows, columns = int(sides[0]), int(sides[1])
    ends = [0]
    for run in runs:
        ends.append(ends[-1] + int(run))
    if not rows or ends[-1] != rows * columns:
        return None
    xs: list[int] = []
    ys: list[int] = []
    for index, (start, end) in enumerate(pairwise(ends)):
        if index % 2 and end > start:
            first, last = divmod(start, rows), divmod(end - 1, rows)
            xs += [first[0], last[0]]
            ys += [first[1], last[1]] if first[0] == last[0] else [0, rows - 1]
    return (min(xs), min(ys), max(xs) + 1, max(ys) + 1) if xs else None


def _runs_of_text(text: str) -> list[int] | None:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        six = ord(character) - 48
        if not 0 <= six < 64 or shift > 60:
            return None
        value |= (six & 31) << shift
        shift += 5
        if not six & 32:
            if six & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if not shift else None
