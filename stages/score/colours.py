"""Colour names in words and in pictures: is the garment drawn in the colour that the prompt asks for?

The eleven basic colour terms (Berlin and Kay 1969). A pixel gets the name of the nearest of several reference shades in
CIELAB; a region gets the name that most of its pixels have. GenEval (Ghosh et al. 2023) asks the same question of a
CLIP on the masked object; this needs no weights, so it can be computed everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.common.boxes import Box, Detection
from stages.common.tables import Row
from stages.score.detection import logo_boxes
from stages.score.pictures import Picture

SHADES: dict[str, tuple[str, ...]] = {
    "black": ("#000000", "#1b1b1e", "#2a2a2d", "#33302f"),
    "white": ("#ffffff", "#f0f0ed", "#e6e6e6", "#dcdcdf"),
    "grey": ("#55585c", "#6f7276", "#84878b", "#9a9a9a", "#b4b6b8"),
    "blue": ("#2656c4", "#1c3f94", "#4c78d8", "#16305e", "#2f86d6", "#8fb8e8", "#0b2a8a"),
    "green": ("#248c44", "#1a6331", "#3fae5f", "#0f4a26", "#7fc97f", "#5c7a2c", "#2fa08a"),
    "red": ("#b21c2a", "#d8242f", "#8c1420", "#e04848", "#6b0f18"),
    "yellow": ("#f1ce34", "#d6b428", "#fae878", "#c2a018"),
    "brown": ("#6c442a", "#8a5a38", "#4e301d", "#a37550"),
    "pink": ("#f198b8", "#e0709c", "#f7bccf", "#d2527f", "#c98096"),
    "purple": ("#703898", "#54286f", "#8f5ab8", "#3f1c56", "#b48fd0"),
    "orange": ("#ed7e24", "#d96a12", "#f59c50", "#bf5a10"),
}
"""Names and reference shades: the focal colour first, then lit and shadowed ones, as cloth shows them."""
_SYNONYMS = {"gray": "grey"}
LEAST_SHARE = 0.4
"""Share of a region that must agree on a name; with less (noise, patterns) the region has no colour of its own. Of 200
pictures of noise the most had 0.34, of the demo's drawn ones 95 % have more than 0.44."""


def colour_columns(picture: Picture, prompt: str, detections: Sequence[Detection]) -> Row:
    """Is the garment drawn in the colour that the prompt asks for? Unknown where it asks for none."""
    asked = colour_asked(prompt)
    drawn = colour_drawn(picture, next(iter(logo_boxes(detections)), None))
    return {"colour_asked": asked, "colour_drawn": drawn, "colour_right": None if asked is None else drawn == asked}


def colour_asked(prompt: str) -> str | None:
    """The first colour word of a prompt, None where it names no colour."""
    names = "|".join([*SHADES, *_SYNONYMS])
    found = re.search(rf"\b({names})\b", prompt.lower())
    return _SYNONYMS.get(found[1], found[1]) if found else None


def colour_drawn(picture: Picture, logo: Box | None) -> str | None:
    """The name of the garment's colour, None where no name holds for `LEAST_SHARE` of the region.

    The region is what lies around the logo, chiefly above and below it, without the logo itself: a logo sits on its
    garment. Without a logo it is the picture's middle.

    Args:
        picture: RGB, [height, width, 3] of uint8.
        logo: the logo's box in pixels, None where none was found.
    """
    shares = colour_shares(picture, logo)
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] >= LEAST_SHARE else None


def colour_shares(picture: Picture, logo: Box | None) -> dict[str, float]:
    """Share of each colour's name among the pixels of the garment's region (see `colour_drawn`)."""
    region = garment_region(picture.shape[0], picture.shape[1], logo)
    pixels = picture[region].reshape(-1, 3)
    if not len(pixels):
        return {}
    lab = _lab(pixels)
    references, names = _references()
    nearest = ((lab[:, None, :] - references[None]) ** 2).sum(axis=2).argmin(axis=1)
    counts = np.bincount(np.array(names)[nearest], minlength=len(SHADES))
    return {name: float(counts[i]) / len(pixels) for i, name in enumerate(SHADES)}


def garment_region(height: int, width: int, logo: Box | None) -> NDArray[np.bool_]:
    """The pixels [height, width] taken for the garment: a frame around the logo, or the picture's middle."""
    # The shares are chosen by hand on the demo's garments; tests hold them to 97 % of the renderer's colours.
    region = np.zeros((height, width), dtype=bool)
    if logo is None:
        region[int(0.35 * height) : int(np.ceil(0.75 * height)), int(0.3 * width) : int(np.ceil(0.7 * width))] = True
        return region
    x0, y0, x1, y1 = logo
    # Sideways little: arms and background are near. Up and down by most of the logo's height.
    dx, dy = 0.05 * (x1 - x0), 0.8 * (y1 - y0)
    margin = max(1.0, 0.06 * (x1 - x0))  # the logo's edge bleeds
    region[_pixels(y0 - margin - dy, y1 + margin + dy, height), _pixels(x0 - dx, x1 + dx, width)] = True
    region[_pixels(y0 - margin, y1 + margin, height), _pixels(x0 - margin - dx, x1 + margin + dx, width)] = False
    return region


def _pixels(low: float, high: float, size: int) -> slice:
    return slice(max(0, round(low)), max(0, min(size, round(high))))


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB (D65) of sRGB pixels [n, 3], lightness at half weight: light and shadow do not change a colour's name."""
    lab = cv2.cvtColor((rgb.astype(np.float32) / 255).reshape(-1, 1, 3), cv2.COLOR_RGB2LAB).reshape(-1, 3)
    return np.asarray(lab * np.array([0.5, 1.0, 1.0], np.float32))


@lru_cache(maxsize=1)
def _references() -> tuple[NDArray[np.float32], Sequence[int]]:
    shades = [(i, shade) for i, values in enumerate(SHADES.values()) for shade in values]
    rgb = np.array([[int(shade[k : k + 2], 16) for k in (1, 3, 5)] for _, shade in shades], dtype=np.uint8)
    return _lab(rgb), tuple(i for i, _ in shades)
