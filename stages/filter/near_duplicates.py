"""Whether two pictures are one, saved twice: by a difference hash, their colours, and where the logo is."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from stages.filter.finding import Finding

COLOUR_DISTANCE = 14.0
"""CIELAB distance of mean colours (of any cell of the grid) from which two similar pictures are colourways.

Compression moves a cell by 2.5 at most (30 photographs of the demo as JPEG of quality 40 to 85); black (20, 20, 20) and
navy (25, 30, 60) are 22 apart. A colour that is off everywhere counts from less: half and a quarter, chosen by hand."""
SAME_PLACE = 0.03
"""Share of a side by which the edges of the logo's box may differ: what compression and rounding move them by."""


def difference_hash(image: Image.Image) -> int:
    """64 bits: is a pixel of a 9 x 8 thumbnail brighter than its right neighbour (dHash)."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
    return int("".join("1" if bit else "0" for bit in (small[:, :-1] > small[:, 1:]).ravel()), 2)


def colours_of(image: Image.Image) -> tuple[float, ...]:
    """Mean CIELAB colour of each cell of a 3 x 3 grid, 27 numbers."""
    small = np.asarray(image.resize((3, 3), Image.Resampling.BOX), np.float32) / 255
    lab: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    return tuple(round(float(v), 2) for v in lab.ravel())


def is_near_duplicate(a: Finding, b: Finding, distance: int) -> bool:
    """Whether two pictures are one saved twice: the same shapes, the same colours, the logo in the same place."""
    if (a.hash ^ b.hash).bit_count() > distance or (a.box is None) != (b.box is None):
        return False
    if a.box and b.box:
        places = [[v / side for v, side in zip(j.box or (), (j.width, j.height) * 2, strict=True)] for j in (a, b)]
        if max(abs(p - q) for p, q in zip(*places, strict=True)) > SAME_PLACE:
            return False
    cells = [
        sum((a.colours[i + c] - b.colours[i + c]) ** 2 for c in range(3)) ** 0.5 for i in range(0, len(a.colours), 3)
    ]
    return bool(max(cells) < COLOUR_DISTANCE / 2) or bool(
        max(cells) < COLOUR_DISTANCE and sum(cells) / len(cells) < COLOUR_DISTANCE / 4
    )
