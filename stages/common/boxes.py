"""Boxes, (x0, y0, x1, y1) in pixels, x to the right, y down, and what a detector says of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A logo found: its box in pixels of the picture, and the detector's confidence, 0 to 1."""

    box: Box
    confidence: float


def overlap(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of a [n, 4] with every box of b [m, 4]; returns [n, m], 0 to 1."""
    first = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = sides.clip(min=0).prod(axis=-1)
    areas = (first[..., 2:] - first[..., :2]).prod(axis=-1) + (second[..., 2:] - second[..., :2]).prod(axis=-1)
    return np.asarray(common / np.maximum(areas - common, 1e-9))


def scaled(box: Sequence[float], scale: float, dx: float = 0.0, dy: float = 0.0) -> Box:
    """The box after its picture was scaled by `scale` and then shifted by (dx, dy)."""
    x0, y0, x1, y1 = box
    return x0 * scale + dx, y0 * scale + dy, x1 * scale + dx, y1 * scale + dy


def clipped(box: Sequence[float], width: float, height: float) -> Box:
    """The part of the box within a picture of this size (no area where it lies outside)."""
    x0, y0, x1, y1 = box
    left, top = min(max(x0, 0.0), width), min(max(y0, 0.0), height)
    return left, top, max(left, min(x1, width)), max(top, min(y1, height))


def fitted(width: int, height: int, longer: int) -> tuple[int, int]:
    """The size, in whole pixels, of a picture whose longer side is scaled to `longer`."""
    scale = longer / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
